from __future__ import annotations

import pytest

from services.inference.results import NOTE_BYTES, cut


def test_what_fits_stays_as_it_is() -> None:
    assert cut("x" * 256, 256) == ("x" * 256, 0)


def test_what_does_not_says_how_much_was_left_out() -> None:
    content, omitted = cut("x" * 1000, 300)
    assert content == "x" * (300 - NOTE_BYTES) + "\n[780 of 1000 bytes were left out here]"
    assert omitted == 780


@pytest.mark.parametrize("lead", range(4))
def test_no_character_is_cut_in_two(lead: int) -> None:
    """Wherever the limit falls among the four bytes of a character."""
    whole = "x" * lead + "😀" * 300
    content, omitted = cut(whole, 256)
    kept = content.partition("\n")[0]
    assert set(kept) == {"x", "😀"} - ({"x"} if lead == 0 else set())
    assert len(kept.encode()) + omitted == len(whole.encode())


def test_the_note_fits_even_for_the_largest_result() -> None:
    content, _ = cut("x" * 2**20, 256)
    assert len(content.encode()) <= 256
