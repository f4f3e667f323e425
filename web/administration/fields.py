"""What a form in the page sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

import grpc

from parley_client.errors import ParleyError, Violation

MAX_NUMBER = 10**13
"""The largest number that any field of the contract takes."""

_BETWEEN_WORDS = re.compile(r"[\s,]+")


class Fields:
    """Values by the names of their controls; one that was not sent is empty.

    Reading a value that is not of its kind raises `ParleyError`, as the
    platform does, so that people see both alike.
    """

    def __init__(self, values: Mapping[str, list[str]] | None = None) -> None:
        self._values = values or {}

    @classmethod
    def sent(cls, data: object) -> Fields:
        """What an event of the page brought; whatever has another shape is left out."""
        pairs = data.items() if isinstance(data, dict) else ()
        return cls(
            {str(name): list(map(_text, values)) for name, values in pairs if isinstance(values, list)}
        )

    def all(self, name: str) -> list[str]:
        """Every value of a control of many, such as boxes to tick."""
        return self._values.get(name, [])

    def text(self, name: str) -> str:
        """A value without the spaces around it."""
        return next(iter(self.all(name)), "").strip()

    def words(self, name: str) -> list[str]:
        """A value's words, by spaces, lines or commas, each once."""
        return list(dict.fromkeys(filter(None, _BETWEEN_WORDS.split(self.text(name)))))

    def whole(self, name: str, most: int = MAX_NUMBER) -> int | None:
        """A whole number of at most that much; None where there is none."""
        number = self.decimal(name)
        if number is None:
            return None
        if number > most:
            raise not_valid(name, f"must be at most {most:,}")
        if number != number.to_integral_value():
            raise not_valid(name, "must be a whole number")
        return int(number)

    def decimal(self, name: str) -> Decimal | None:
        """A number from 0 to the largest; None where there is none."""
        text = self.text(name)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 <= number <= MAX_NUMBER:
            raise not_valid(name, f"must be a number from 0 to {MAX_NUMBER:,}")
        return number

    def time(self, name: str) -> datetime | None:
        """A time of UTC, as a control for dates and times gives it; None where there is none."""
        text = self.text(name)
        if not text:
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            raise not_valid(name, "must be a date and a time") from None


def _text(value: object) -> str:
    """A value as text that can be sent; half a character of UTF-16 becomes a question mark."""
    return str(value).encode(errors="replace").decode()


def not_valid(name: str, description: str) -> ParleyError:
    """The error of a field that breaks its rule."""
    return ParleyError(
        grpc.StatusCode.INVALID_ARGUMENT,
        "That cannot be sent.",
        violations=(Violation(name.replace("_", " "), description),),
    )
