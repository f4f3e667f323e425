"""How each kind of value is checked. Libraries know the rules where there are many."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.tools.builtin.dates import parse_date
from services.tools.builtin.formats import read_json
from services.tools.errors import DataInvalid, quoted

MAX_SHORT_CHARACTERS = 2048
MAX_PASSWORD_CHARACTERS = 72  # zxcvbn's own bound
GOOD_PASSWORD_SCORE = 3

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")
_BRANDS = (
    ("Visa", r"4\d{12}(\d{3}){0,2}"),
    ("Mastercard", r"(5[1-5]\d{2}|222[1-9]|22[3-9]\d|2[3-6]\d{2}|27[01]\d|2720)\d{12}"),
    ("American Express", r"3[47]\d{13}"),
    ("Discover", r"6(011|5\d{2}|4[4-9]\d)\d{12}"),
)


@dataclass(frozen=True)
class Verdict:
    """What was found about a value.

    Attributes:
        reason: Why it is not valid; empty where it is.
        normalized: It in its usual spelling.
        details: More about it.
        score: Strength, of a password.
    """

    reason: str = ""
    normalized: str = ""
    details: str = ""
    score: int | None = None


Check = Callable[[str, str], Verdict]
"""Judges a value, with a region."""


def _email(value: str, _region: str) -> Verdict:
    import email_validator

    try:
        found = email_validator.validate_email(value, check_deliverability=False, test_environment=True)
    except email_validator.EmailNotValidError as error:
        return Verdict(reason=quoted(str(error)))
    return Verdict(normalized=found.normalized)


def _url(value: str, _region: str) -> Verdict:
    from pydantic import AnyUrl, TypeAdapter, ValidationError

    try:
        found = TypeAdapter(AnyUrl).validate_python(value)
    except ValidationError as error:
        return Verdict(reason=error.errors()[0]["msg"])
    if not found.host:
        return Verdict(reason="it names no host")
    return Verdict(normalized=str(found), details=found.scheme)


def _ip(value: str, _region: str) -> Verdict:
    try:
        found = ipaddress.ip_address(value.strip())
    except ValueError:
        return Verdict(reason="it is neither an IPv4 nor an IPv6 address")
    scope = "private" if found.is_private else "public" if found.is_global else "special"
    return Verdict(normalized=found.compressed, details=f"IPv{found.version}, {scope}")


def _phone(value: str, region: str) -> Verdict:
    import phonenumbers

    try:
        found = phonenumbers.parse(value, region or None)
    except phonenumbers.NumberParseException as error:
        return Verdict(reason=str(error))
    if not phonenumbers.is_valid_number(found):
        return Verdict(reason="no such number can exist")
    return Verdict(
        normalized=phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164),
        details=phonenumbers.region_code_for_number(found) or "",
    )


def _card(value: str, _region: str) -> Verdict:
    digits = re.sub(r"[ -]", "", value)
    if not re.fullmatch(r"[0-9]{12,19}", digits):
        return Verdict(reason="it must have 12 to 19 digits")
    if not _luhn(digits):
        return Verdict(reason="the check digit is wrong")
    return Verdict(
        details=next((brand for brand, shape in _BRANDS if re.fullmatch(shape, digits)), "unknown brand")
    )


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right is doubled."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def _json(value: str, _region: str) -> Verdict:
    try:
        found = read_json(value)
    except (ValueError, RecursionError) as error:
        return Verdict(reason=quoted(str(error)))
    return Verdict(details=type(found).__name__)


def _xml(value: str, _region: str) -> Verdict:
    """Well-formed, and without a document type: entities are what XML bombs are made of."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException, ElementTree

    try:
        root = ElementTree.fromstring(value, forbid_dtd=True)
    except DefusedXmlException:
        return Verdict(reason="it holds a document type or entities, which are not taken")
    except (ParseError, ValueError) as error:
        return Verdict(reason=quoted(str(error)))
    return Verdict(details=quoted(f"root {root.tag}"))


def _date(value: str, _region: str) -> Verdict:
    try:
        return Verdict(normalized=parse_date(value, "validate").isoformat())
    except DataInvalid as error:
        return Verdict(reason=error.message)


def _number(value: str, _region: str) -> Verdict:
    text = value.strip()
    if not _NUMBER.fullmatch(text):
        return Verdict(reason="it is no decimal number")
    return Verdict(
        normalized=text.lstrip("+"), details="integer" if text.lstrip("+-").isdigit() else "fraction"
    )


def _uuid(value: str, _region: str) -> Verdict:
    try:
        found = uuid.UUID(value.strip())
    except ValueError:
        return Verdict(reason="it is no UUID")
    return Verdict(
        normalized=str(found), details=f"version {found.version}" if found.version else "no version"
    )


def _password(value: str, _region: str) -> Verdict:
    from zxcvbn import zxcvbn

    if not value:
        return Verdict(reason="it is empty", score=0)
    found = zxcvbn(value[:MAX_PASSWORD_CHARACTERS])
    score = int(found["score"])
    if score >= GOOD_PASSWORD_SCORE:
        return Verdict(score=score)
    hints = [found["feedback"]["warning"], *found["feedback"]["suggestions"]]
    return Verdict(reason=" ".join(hint for hint in hints if hint) or "it is easy to guess", score=score)


def _short(check: Check) -> Check:
    """The check, for values that are never long."""

    def judge(value: str, region: str) -> Verdict:
        if len(value) > MAX_SHORT_CHARACTERS:
            return Verdict(reason=f"it has more than {MAX_SHORT_CHARACTERS} characters")
        return check(value, region)

    return judge


CHECKS: Mapping[str, Check] = {
    "json": _json,
    "xml": _xml,
    **{
        name: _short(check)
        for name, check in {
            "email": _email,
            "url": _url,
            "ip": _ip,
            "phone": _phone,
            "card": _card,
            "date": _date,
            "number": _number,
            "uuid": _uuid,
            "password": _password,
        }.items()
    },
}
