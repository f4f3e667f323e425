"""Cuts what the engine gives in one step where the turn's ceiling is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.inference.token_texts import Logprob
from services.inference.turn_reader import RawOutput

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a `RawOutput`."""

    text: str
    token_ids: Sequence[int]
    finish_reason: str | None
    logprobs: Sequence[Mapping[int, Logprob] | None] | None = None
    stop_reason: int | str | None = None


def cut(output: RawOutput, room: int | None, decode: Decode) -> tuple[RawOutput, RawOutput | None]:
    """What may be said now, and what comes after it.

    Args:
        output: What the engine gave.
        room: Tokens that may be said now; None for all.
        decode: Gives the text of tokens.

    Returns:
        Both parts; the second is None where all may be said. Text that cannot
        be told apart by its tokens goes to the second: nothing is said unpaid.
    """
    if room is None or len(output.token_ids) <= room:
        return output, None
    now, later = output.token_ids[:room], output.token_ids[room:]
    alone = decode(now)
    # Tokenizers of the SentencePiece kind drop the space that a text begins with.
    text = next((known for known in (alone, f" {alone}") if output.text.startswith(known)), "")
    logprobs = output.logprobs
    rest = Portion(
        output.text[len(text) :],
        later,
        output.finish_reason,
        None if logprobs is None else logprobs[room:],
        output.stop_reason,
    )
    return Portion(text, now, None, None if logprobs is None else logprobs[:room]), rest
