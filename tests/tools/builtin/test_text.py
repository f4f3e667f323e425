from __future__ import annotations

from typing import get_args

import pytest

from services.tools.builtin.text import Operation, text_process
from services.tools.builtin.validation import Kind, validate
from services.tools.errors import DataInvalid, DataTooLarge, InvalidArguments, PatternInvalid
from tests.tools.builtin.conftest import Use


@pytest.mark.parametrize(
    ("operation", "text", "result"),
    [
        ("base64_encode", "é", "w6k="),
        ("base64_decode", "w6k", "é"),
        ("base64_decode", "Pz5-", "?>~"),
        ("url_encode", "a b/é", "a%20b%2F%C3%A9"),
        ("url_decode", "a%20b%2F%C3%A9", "a b/é"),
        ("hex_encode", "é", "c3a9"),
        ("hex_decode", "c3 a9", "é"),
        ("html_encode", '<a href="x">', "&lt;a href=&quot;x&quot;&gt;"),
        ("html_decode", "&lt;&eacute;&#x41;", "<éA"),
        ("hash_md5", "abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("hash_sha1", "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("hash_sha256", "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_text_is_recoded(use: Use, operation: str, text: str, result: str) -> None:
    assert use(text_process, operation=operation, text=text)["result"] == result


def test_sha_512_has_128_digits(use: Use) -> None:
    assert len(use(text_process, operation="hash_sha512", text="abc")["result"]) == 128


def test_there_are_20_operations_and_11_kinds() -> None:
    assert len(get_args(Operation)) == 20
    assert len(get_args(Kind)) == 11


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("base64_decode", "!"),
        ("base64_decode", "/w=="),
        ("hex_decode", "xyz"),
        ("hex_decode", "ff"),
        ("url_decode", "%ff"),
        ("date_parse", "yesterday or so"),
        ("date_parse", ""),
        ("date_parse", "1" * 101),
        ("date_parse", "9" * 90),
    ],
)
def test_what_cannot_be_decoded_is_refused(use: Use, operation: str, text: str) -> None:
    with pytest.raises(DataInvalid):
        use(text_process, operation=operation, text=text)


def test_patterns_are_matched(use: Use) -> None:
    def run(operation: str, text: str, pattern: str, **more: object) -> dict[str, object]:
        made = use(text_process, operation=operation, text=text, pattern=pattern, **more)
        return {name: value for name, value in made.items() if name != "operation"}

    assert run("regex_match", "abc", "x") == {"matches": []}
    assert run("regex_match", "xABz", "(a)(b)|(c)", ignore_case=True) == {
        "matches": [{"text": "AB", "start": 1, "groups": ["A", "B", None]}]
    }
    assert run("regex_find_all", "a\nb", "^.$", multiline=True)["matches"][1]["start"] == 2
    assert run("regex_split", "a, b,c", r",\s*") == {"parts": ["a", "b", "c"], "truncated": False}
    assert run("regex_replace", "a1b2", r"(\d)", replacement=r"<\1>") == {"result": "a<1>b<2>", "replaced": 2}
    many = run("regex_find_all", "a" * 600, "a")
    assert (len(many["matches"]), many["truncated"]) == (500, True)
    cut = run("regex_split", "a" * 600, "a")
    assert (len(cut["parts"]), cut["truncated"]) == (501, True)


@pytest.mark.parametrize(
    ("pattern", "more"), [("(", {}), ("a", {"replacement": "\\9"}), ("a", {"replacement": "\\g<x>"})]
)
def test_broken_patterns_are_named(use: Use, pattern: str, more: dict[str, str]) -> None:
    with pytest.raises(PatternInvalid):
        use(text_process, operation="regex_replace", text="aaa", pattern=pattern, **more)


def test_a_replacement_cannot_grow_without_end(use: Use) -> None:
    with pytest.raises(DataTooLarge):
        use(text_process, operation="regex_replace", text="a" * 10_000, pattern="", replacement="x" * 1000)


@pytest.mark.parametrize("operation", ["regex_match", "regex_find_all"])
def test_groups_cannot_hold_the_text_over_and_over(use: Use, operation: str) -> None:
    nested = f"{'(' * 200}.*{')' * 200}"
    with pytest.raises(DataTooLarge):
        use(text_process, operation=operation, text="a" * 10_000, pattern=nested)


def test_dates_are_reckoned_with(use: Use) -> None:
    def date(operation: str, text: str, **more: object) -> object:
        made = use(text_process, operation=operation, text=text, **more)
        return made.get("result", made.get("seconds"))

    assert date("date_parse", "23 Nov 2026 15:04") == "2026-11-23T15:04:00+00:00"
    assert date("date_parse", "2026-11-23T15:04:05+01:00") == "2026-11-23T15:04:05+01:00"
    assert date("date_add", "2026-01-31", amount=1, unit="months") == "2026-02-28T00:00:00+00:00"
    assert date("date_add", "2026-11-23", amount=-2, unit="hours") == "2026-11-22T22:00:00+00:00"
    assert date("date_format", "2026-11-23", date_format="%d.%m.%y %A 100%%") == "23.11.26 Monday 100%"
    assert date("date_format", "2026-11-23", date_format="") == ""
    assert date("date_difference", "2026-11-23", other="2026-11-24T01:00:00Z") == 90_000


@pytest.mark.parametrize(
    "arguments",
    [
        {"operation": "date_add", "text": "9999-12-31", "amount": 1},
        {"operation": "date_add", "text": "2026-01-01", "amount": 10**6, "unit": "years"},
        {"operation": "date_format", "text": "2026-01-01", "date_format": "%1000000000d"},
    ],
)
def test_dates_beyond_the_calendar_are_refused(use: Use, arguments: dict[str, object]) -> None:
    with pytest.raises(DataInvalid):
        use(text_process, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"operation": "regex_match", "text": "a"},
        {"operation": "date_difference", "text": "2026-01-01"},
        {"operation": "rot13", "text": "a"},
        {"operation": "hash_md5", "text": "a" * 300_000},
    ],
)
def test_other_arguments_are_refused(use: Use, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidArguments):
        use(text_process, **arguments)


@pytest.mark.parametrize(
    ("kind", "value", "normalized"),
    [
        ("email", "ada@example.org", "ada@example.org"),
        ("url", "HTTPS://Example.org", "https://example.org/"),
        ("ip", "2001:0db8::0001", "2001:db8::1"),
        ("ip", "10.0.0.1", "10.0.0.1"),
        ("phone", "+1 650-253-0000", "+16502530000"),
        ("card", "4111 1111 1111 1111", None),
        ("card", "5555-5555-5555-4444", None),
        ("json", "[1]", None),
        ("xml", "<a><b/></a>", None),
        ("date", "2026-11-23", "2026-11-23T00:00:00+00:00"),
        ("number", "+1.5e3", "1.5e3"),
        ("number", "42", "42"),
        ("uuid", "{12345678-1234-4234-8234-123456789ABC}", "12345678-1234-4234-8234-123456789abc"),
        ("password", "correct horse battery staple", None),
    ],
)
def test_what_is_valid_is_called_so(use: Use, kind: str, value: str, normalized: str | None) -> None:
    result = use(validate, kind=kind, value=value)
    assert result["valid"], result
    assert result.get("normalized") == normalized
    assert "reason" not in result


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "ada@"),
        ("email", "a" * 3000),
        ("url", "example.org"),
        ("url", "mailto:x"),
        ("ip", "256.1.1.1"),
        ("phone", "123"),
        ("phone", "+1 555"),
        ("card", "4111 1111 1111 1112"),
        ("card", "12"),
        ("json", "{"),
        ("xml", "<a>"),
        ("xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        ("xml", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"),
        ("date", "2026-13-01"),
        ("number", "0x10"),
        ("number", "1e99999"),
        ("uuid", "1234"),
        ("password", "password"),
        ("password", ""),
    ],
)
def test_what_is_not_valid_says_why(use: Use, kind: str, value: str) -> None:
    result = use(validate, kind=kind, value=value)
    assert not result["valid"]
    assert result["reason"]


def test_secrets_are_not_repeated(use: Use) -> None:
    for kind, value in (("card", "4111111111111111"), ("password", "correct horse battery staple")):
        assert value not in str(use(validate, kind=kind, value=value))


def test_a_private_address_and_a_brand_are_told(use: Use) -> None:
    assert use(validate, kind="ip", value="10.0.0.1")["details"] == "IPv4, private"
    assert use(validate, kind="card", value="378282246310005")["details"] == "American Express"
    assert use(validate, kind="card", value="6304000000000000")["details"] == "unknown brand"
