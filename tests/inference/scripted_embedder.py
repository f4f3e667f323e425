"""An embedder that follows a script and counts what is running."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.inference.engine.embedder import Form, Text
from services.inference.engine.model_card import ModelCard
from services.inference.errors import ContextOverflow, DimensionsNotOffered
from tests.inference.scripted import Gate

DIMENSIONS = 4
CONTEXT_LENGTH = 8
VOCABULARY_SIZE = 100


class ScriptedEmbedder:
    """A word is a token, named by how many letters it has; a text's vector is these.

    Attributes:
        waits: Texts that have a gate wait at it in the engine.
        fails: Texts that fail there, and with what.
    """

    def __init__(
        self,
        waits: dict[str, Gate] | None = None,
        fails: dict[str, Exception] | None = None,
        name: str = "scripted",
    ) -> None:
        self.card = ModelCard(
            name, CONTEXT_LENGTH, embedding_dimensions=DIMENSIONS, vocabulary_size=VOCABULARY_SIZE
        )
        self.waits = waits or {}
        self.fails = fails or {}
        self.forms: list[Form] = []
        self.closed = False
        self._running: set[str] = set()

    @property
    def running(self) -> int:
        return len(self._running)

    async def read(self, text: str, *, cut: bool) -> Text:
        words = text.split()
        if len(words) > CONTEXT_LENGTH and not cut:
            raise ContextOverflow(len(words), 0, CONTEXT_LENGTH)
        kept = words[:CONTEXT_LENGTH]
        return Text(len(kept), len(kept) < len(words), kept)

    def read_tokens(self, token_ids: Sequence[int], *, cut: bool) -> Text:
        if len(token_ids) > CONTEXT_LENGTH and not cut:
            raise ContextOverflow(len(token_ids), 0, CONTEXT_LENGTH)
        kept = ["x" * token for token in token_ids[:CONTEXT_LENGTH]]
        return Text(len(kept), len(kept) < len(token_ids), kept)

    async def embed(self, text: Text, form: Form, request_id: str) -> Sequence[float]:
        self.forms.append(form)
        if form.dimensions is not None and form.dimensions > DIMENSIONS:
            raise DimensionsNotOffered(self.card.name, form.dimensions)
        assert isinstance(text.native, list)
        said = " ".join(text.native)
        assert request_id not in self._running
        self._running.add(request_id)
        try:
            if said in self.waits:
                await self.waits[said].wait()
            if said in self.fails:
                raise self.fails[said]
            lengths = [float(len(word)) for word in text.native]
            return (lengths + [0.0] * DIMENSIONS)[: form.dimensions or DIMENSIONS]
        finally:
            self._running.discard(request_id)

    async def failed(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed = True
