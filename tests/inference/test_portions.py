"""What the engine gives is cut at the ceiling, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from services.inference.reading.portions import Portion, TokenByToken, cut, whole_characters

WORDS = {1: "It", 2: " is", 3: " 391", 4: "."}


def decode(token_ids: Sequence[int]) -> str:
    return "".join(WORDS[token] for token in token_ids)


def decode_like_sentencepiece(token_ids: Sequence[int]) -> str:
    return decode(token_ids).removeprefix(" ")


@pytest.mark.parametrize("room", [None, 4, 5])
def test_what_fits_is_left_whole(room: int | None) -> None:
    output = Portion("It is 391.", (1, 2, 3, 4), "stop")
    assert cut(output, room, decode) == (output, None)


@pytest.mark.parametrize("tokens", [decode, decode_like_sentencepiece])
def test_the_cut_is_between_tokens(tokens: object) -> None:
    now, later = cut(Portion(" is 391.", (2, 3, 4), "length"), 2, tokens)  # type: ignore[arg-type]
    assert now == Portion(" is 391", (2, 3), None)
    assert later == Portion(".", (4,), "length")


def test_text_that_cannot_be_told_apart_is_not_said() -> None:
    now, later = cut(Portion("held back", (1, 2), None), 1, decode)
    assert now == Portion("", (1,), None)
    assert later == Portion("held back", (2,), None)


def test_tokens_that_came_together_are_told_apart() -> None:
    portions = TokenByToken(decode).split(Portion("It is 391.", (1, 2, 3, 4), "stop"))
    assert portions == [
        Portion("It", (1,), None),
        Portion(" is", (2,), None),
        Portion(" 391", (3,), None),
        Portion(".", (4,), "stop"),
    ]


def test_a_character_comes_with_its_last_token_in_whichever_output_it_is() -> None:
    letter = "東".encode()

    def decode_bytes(tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    apart = TokenByToken(decode_bytes)
    assert [each.text for each in apart.split(Portion("", letter[:1], None))] == [""]
    assert [each.text for each in apart.split(Portion("東!", (*letter[1:], 33), None))] == ["", "東", "!"]


def test_text_that_is_held_back_leaves_an_output_whole() -> None:
    output = Portion("what came before", (1, 2), None)
    assert TokenByToken(decode).split(output) == [output]


@pytest.mark.parametrize(("text", "whole"), [("né", 3), ("n", 1), ("n\u2713"[:2], 4), ("\U0001f600", 4)])
def test_tokens_end_with_a_whole_character(text: str, whole: int) -> None:
    """A token a byte: what is cut within a character loses that one."""
    as_bytes = [*text.encode()]
    assert len(as_bytes) == whole
    assert whole_characters(as_bytes, of_bytes) == as_bytes
    begun = [*as_bytes, *"\U0001f600".encode()[:3]]
    assert whole_characters(begun, of_bytes) == as_bytes


def of_bytes(token_ids: Sequence[int]) -> str:
    return bytes(token_ids).decode(errors="replace")
