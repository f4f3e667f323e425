"""Log-probabilities of tokens, as chat completions and as completions write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parley.inference.v1 import logprobs_pb2

Tokens = Iterable[logprobs_pb2.TokenLogprob]

# What OpenAI's API gives for a token that is out of all likelihood, where JSON has no infinity.
FLOOR = -9999.0


def of_chat(tokens: Tokens) -> dict[str, Any]:
    """`logprobs` of a choice of a chat completion."""
    return {"content": [_of_token(token) for token in tokens], "refusal": None}


def _of_token(token: logprobs_pb2.TokenLogprob) -> dict[str, Any]:
    return {**_one(token), "top_logprobs": [_one(top) for top in token.top]}


def _one(token: logprobs_pb2.TokenLogprob | logprobs_pb2.TopLogprob) -> dict[str, Any]:
    return {
        "token": token.token,
        "logprob": max(token.logprob, FLOOR),
        "bytes": list(token.text_bytes),
    }


class TextLogprobs:
    """`logprobs` of a choice of a completion; its offsets count on from part to part."""

    def __init__(self) -> None:
        """Begin at the text's beginning."""
        self._offset = 0

    def of(self, tokens: Tokens) -> dict[str, Any]:
        """Those of the next tokens."""
        listed = list(tokens)
        return {
            "tokens": [token.token for token in listed],
            "token_logprobs": [_or_none(token) for token in listed],
            "top_logprobs": [{top.token: max(top.logprob, FLOOR) for top in token.top} for token in listed],
            "text_offset": [self._place(token) for token in listed],
        }

    def _place(self, token: logprobs_pb2.TokenLogprob) -> int:
        at, self._offset = self._offset, self._offset + len(token.token)
        return at


def _or_none(token: logprobs_pb2.TokenLogprob) -> float | None:
    """The first token of a prompt has none."""
    return max(token.logprob, FLOOR) if token.HasField("logprob") else None
