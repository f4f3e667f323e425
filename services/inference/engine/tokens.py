"""The tokens of a model that runs: from text and back, alone and as they were chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.inference.errors import ContextOverflow
from services.inference.reading.logprobs import TokenLogprob
from services.inference.reading.token_texts import TokenTexts


class EngineTokens:
    """A tokenizer of `transformers`' kind, asked on threads where a text may be long."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        """Ask this tokenizer, for a model whose context has so many tokens."""
        self._tokenizer = tokenizer
        self._context_length = context_length
        self._texts = TokenTexts(tokenizer)

    def refuse_endless(self, characters: int, asked: int) -> None:
        """Refuse text that cannot fit before time is spent on its tokens.

        Raises:
            ContextOverflow: With the fewest tokens that the text could have.
        """
        fewest = -(-characters // self._tokenizer.max_chars_per_token)
        if fewest > self._context_length:
            raise ContextOverflow(fewest, asked, self._context_length)

    async def of(self, text: str, *, special: bool) -> tuple[int, ...]:
        """See `Engine.tokenize`."""
        self.refuse_endless(len(text), 1)
        return tuple(await asyncio.to_thread(self._tokenizer.encode, text, add_special_tokens=special))

    def text(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of a few tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=skip_special))

    async def long_text(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """The text of any number of tokens."""
        return await asyncio.to_thread(self.text, token_ids, skip_special=skip_special)

    async def texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """The text of each token, in UTF-8."""
        return await asyncio.to_thread(lambda: tuple(map(self._texts.of, token_ids)))

    def logprobs(self, token_ids: Sequence[int], given: Any, top: int | None) -> tuple[TokenLogprob, ...]:
        """Tokens with their log-probabilities and so many likelier ones; see `TokenTexts.logprobs`."""
        return self._texts.logprobs(token_ids, given, top or 0)
