"""The form of API keys."""

from __future__ import annotations

import pytest

from services.auth.keys import ALPHABET, PresentedKey, mint, parse


def test_a_key_says_what_it_is_and_is_read_back() -> None:
    key = mint()
    scheme, prefix, secret = key.text.split("_")
    assert (scheme, len(prefix), len(secret)) == ("parley", 10, 49)
    assert key.prefix == f"parley_{prefix}"
    assert parse(key.text) == key


def test_no_two_keys_are_alike() -> None:
    keys = [mint() for _ in range(200)]
    assert len({key.text for key in keys}) == len({key.prefix for key in keys}) == 200


@pytest.mark.parametrize("position", [7, 16, 18, 40, 60, 66])
def test_a_mistyped_key_is_noticed_without_a_look_up(position: int) -> None:
    text = mint().text
    other = next(letter for letter in ALPHABET if letter != text[position])
    assert parse(text[:position] + other + text[position + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "parley_", "parley__", "sk-abc", "parley_abc_def", "x" * 10_000, "parley_ÄÄÄÄÄÄÄÄÄÄ_x"]
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert parse(text) is None


def test_whitespace_around_a_key_is_not_forgiven() -> None:
    assert parse(f"{mint().text}\n") is None


def test_what_is_stored_is_of_the_whole_key_and_of_no_other() -> None:
    key, other = mint(), mint()
    assert key.digest() == PresentedKey(key.prefix, key.text).digest()
    assert len({key.digest(), other.digest(), PresentedKey(key.prefix, other.text).digest()}) == 2


def test_the_secret_is_not_in_the_repr() -> None:
    key = mint()
    assert key.text not in repr(key)
    assert key.prefix in repr(key)
