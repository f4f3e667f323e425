"""User names as they are compared."""

from __future__ import annotations

import pytest

from services.auth.names import canonical


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
