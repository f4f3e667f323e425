"""User names as they are compared."""

from __future__ import annotations

import pytest

from services.auth.names import canonical, require_printable
from services.rpc.errors import InvalidRequest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "ada"),
        ("STRASSE", "straße"),
        ("\N{FULLWIDTH LATIN SMALL LETTER A}da", "ada"),
        ("e\N{COMBINING ACUTE ACCENT}va", "Éva"),
        ("\N{KELVIN SIGN}im", "kim"),
    ],
)
def test_spellings_of_one_name_are_one(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


def test_other_names_stay_others() -> None:
    assert canonical("ada") != canonical("\N{CYRILLIC SMALL LETTER A}da")


def test_it_is_stable() -> None:
    assert canonical(canonical("\N{GREEK SMALL LETTER ALPHA WITH YPOGEGRAMMENI}X")) == canonical(
        "\N{GREEK SMALL LETTER ALPHA WITH YPOGEGRAMMENI}X"
    )


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\x1b[31m", "a\u2028b", "a\u202eb", "\u2066a"])
def test_what_would_not_stay_where_it_is_shown_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        require_printable("name", text)
    assert [violation.field for violation in caught.value.violations] == ["name"]


@pytest.mark.parametrize("text", ["", "Ada Lovelace", "Àda 🦜", "名前", "שלום", "a\u200db"])
def test_what_people_are_called_is_taken(text: str) -> None:
    assert require_printable("name", text) is None  # type: ignore[func-returns-value]
