"""The text of single tokens, in bytes: a character may be spread over several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Protocol

from services.inference.reading.logprobs import TokenLogprob, TopLogprob

KNOWN_TEXTS = 65_536
# What stands for a probability of nothing: JSON has no infinity.
LEAST_LOGPROB = -9999.0
REPLACEMENT = "\ufffd"
SPACE_MARK = "\u2581"
BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer(Protocol):
    """What is used of `transformers`' tokenizers."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of tokens."""
        ...

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        """Tokens as the vocabulary spells them."""
        ...


class Logprob(Protocol):
    """What is used of `vllm.logprobs.Logprob`."""

    @property
    def logprob(self) -> float:
        """The natural logarithm of the probability."""
        ...


class TokenTexts:
    """Gives the texts of a tokenizer's tokens, and remembers them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Ask this tokenizer."""
        self._tokenizer = tokenizer
        self._of = lru_cache(KNOWN_TEXTS)(self._ask)

    def of(self, token_id: int) -> bytes:
        """A token's text in UTF-8; a part of a character where that is all it is."""
        return self._of(token_id)

    def _ask(self, token_id: int) -> bytes:
        text = self._tokenizer.decode([token_id])
        piece = str(self._tokenizer.convert_ids_to_tokens([token_id])[0] or "")
        if REPLACEMENT in text:
            return _bytes_of(piece) or text.encode()
        # Tokenizers of the SentencePiece kind drop the space that a text begins with.
        dropped = piece.startswith(SPACE_MARK) and not text.startswith(" ")
        return (f" {text}" if dropped else text).encode()

    def logprobs(
        self, token_ids: Sequence[int], given: Sequence[Mapping[int, Logprob] | None] | None, top: int
    ) -> tuple[TokenLogprob, ...]:
        """Tokens with their log-probabilities, as the engine has them by place; None where it has none."""
        if given is None:
            return ()
        return tuple(
            self._in_its_place(token, place or {}, top) for token, place in zip(token_ids, given, strict=True)
        )

    def _in_its_place(self, token_id: int, place: Mapping[int, Logprob], top: int) -> TokenLogprob:
        own = place.get(token_id)
        likeliest = sorted(place.items(), key=lambda item: -item[1].logprob)[:top]
        return TokenLogprob(
            token_id,
            self.of(token_id),
            max(own.logprob, LEAST_LOGPROB) if own is not None else None,
            tuple(
                TopLogprob(token, self.of(token), max(known.logprob, LEAST_LOGPROB))
                for token, known in likeliest
            ),
        )


def _bytes_of(piece: str) -> bytes:
    """The bytes that a token stands for, as vocabularies spell them; empty where they do not."""
    spelled = BYTE_PIECE.fullmatch(piece)
    if spelled:
        return bytes([int(spelled[1], 16)])
    alphabet = _byte_alphabet()
    return bytes(alphabet[char] for char in piece) if all(char in alphabet for char in piece) else b""


@cache
def _byte_alphabet() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies, since GPT-2's."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}
