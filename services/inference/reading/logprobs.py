"""Log-probabilities of tokens, as an engine tells them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """A token that could have stood in a place, and the logarithm of its probability."""

    token_id: int
    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that stands in a place.

    Attributes:
        token_id: Which.
        text: Its text in UTF-8; a part of a character where that is all it is.
        logprob: The logarithm of its probability; None where nothing precedes it.
        top: The likeliest tokens in its place, likeliest first.
    """

    token_id: int
    text: bytes
    logprob: float | None
    top: tuple[TopLogprob, ...] = ()
