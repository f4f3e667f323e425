"""Cuts what the engine gives in one step: where the turn's ceiling is, and into its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.inference.reading.token_texts import Logprob

Decode = Callable[[Sequence[int]], str]

# What decoders write for bytes that are no character yet.
UNFINISHED = "\ufffd"
# A character has at most four bytes, and a token at least one.
MOST_CHARACTER_TOKENS = 4


class RawOutput(Protocol):
    """What the engine adds in one step (`vllm.outputs.CompletionOutput`)."""

    @property
    def text(self) -> str:
        """The new text."""
        ...

    @property
    def token_ids(self) -> Sequence[int]:
        """The new tokens."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """Why it ended; None while it goes on."""
        ...

    @property
    def logprobs(self) -> Sequence[Mapping[int, Logprob] | None] | None:
        """The log-probabilities in the place of each new token, if asked for."""
        ...

    @property
    def stop_reason(self) -> int | str | None:
        """The stop text or token that ended it, if one did."""
        ...


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
    text = _beginning(output.text, decode(now))
    logprobs = output.logprobs
    rest = Portion(
        output.text[len(text) :],
        later,
        output.finish_reason,
        None if logprobs is None else logprobs[room:],
        output.stop_reason,
    )
    return Portion(text, now, None, None if logprobs is None else logprobs[:room]), rest


def whole_characters(token_ids: Sequence[int], decode: Decode) -> Sequence[int]:
    """The tokens without those at their end that are only a part of a character."""
    for end in range(len(token_ids), max(0, len(token_ids) - MOST_CHARACTER_TOKENS), -1):
        if not decode(token_ids[:end]).endswith(UNFINISHED):
            return token_ids[:end]
    return token_ids


class TokenByToken:
    """Gives outputs apart by their tokens, as the engine gives them to whoever reads fast enough.

    A character of several tokens comes with the last of them. Where text cannot
    be told apart by its tokens, which is so where the engine holds some back
    for a stop string, an output is left whole.
    """

    def __init__(self, decode: Decode) -> None:
        """Tell tokens apart by what they decode to."""
        self._decode = decode
        # Tokens whose text has not come yet.
        self._open: list[int] = []

    def split(self, output: RawOutput) -> Sequence[RawOutput]:
        """One portion for each token of the turn's next output."""
        portions = self._apart(output) if len(output.token_ids) > 1 else None
        if portions is None:
            portions = [output]
        if portions[-1].text:
            self._open = []
        else:
            self._open.extend(portions[-1].token_ids)
        return portions

    def _apart(self, output: RawOutput) -> list[RawOutput] | None:
        """The portions; None where they cannot be told apart."""
        portions: list[RawOutput] = []
        rest = output.text
        for token in output.token_ids[:-1]:
            self._open.append(token)
            alone = self._decode(self._open)
            unfinished = alone.endswith(UNFINISHED)
            text = "" if unfinished else _beginning(rest, alone)
            if not unfinished:
                if alone and not text:
                    return None
                self._open = []
            rest = rest[len(text) :]
            portions.append(Portion(text, (token,), None))
        portions.append(Portion(rest, output.token_ids[-1:], output.finish_reason))
        return portions


def _beginning(text: str, alone: str) -> str:
    """What the text begins with, where that is what tokens decode to; empty where it is not.

    Tokenizers of the SentencePiece kind drop the space that a text begins with.
    """
    return next((known for known in (alone, f" {alone}") if text.startswith(known)), "")
