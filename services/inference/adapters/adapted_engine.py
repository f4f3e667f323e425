"""An engine whose answers an adapter changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import replace

from services.inference.adapters.port import Adapter
from services.inference.engine.fingerprint import digest
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine, Prompt, no_ceiling
from services.inference.engine.turn import Turn
from services.inference.engine.wrapped import WrappedEngine
from services.inference.errors import ModelNotFound
from services.inference.reading.step import Step


class AdaptedEngine(WrappedEngine):
    """An `Engine` that is its base model's, with an adapter. It counts who uses it, so that none loses it.

    What runs and waits is that of the base model and its other adapters, too.
    """

    def __init__(self, engine: Engine, adapter: Adapter) -> None:
        """Put an adapter on an engine that has it loaded.

        Args:
            engine: The base model's.
            adapter: What changes its answers.
        """
        super().__init__(engine)
        self._adapter = adapter
        self._uses = 0
        self._unused = asyncio.Event()
        self._unused.set()
        self._card = _card(engine.card, adapter)
        self.is_gone = False
        """Whether the engine has the adapter no longer."""
        self.runs = 0
        """Runs that it answers."""

    @property
    def is_used(self) -> bool:
        """Whether a run has it, or it generates: a turn that others wait for outlives its run."""
        return self._uses > 0

    @contextmanager
    def run(self) -> Iterator[None]:
        """Keep the adapter loaded until the block's end, for all turns of a run."""
        self.runs += 1
        try:
            with self._used():
                yield
        finally:
            self.runs -= 1

    @contextmanager
    def _used(self) -> Iterator[None]:
        self._uses += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._uses -= 1
            if not self._uses:
                self._unused.set()

    async def wait_until_unused(self) -> None:
        """Return when nobody uses it."""
        await self._unused.wait()

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._card

    @property
    def adapter_host(self) -> None:
        """See `Engine.adapter_host`: none goes on top of another."""
        return

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        prompt = await super().render(turn)
        identity = digest(prompt.identity, self._adapter.revision.encode()) if prompt.identity else b""
        return replace(prompt, adapter=self._adapter, identity=identity)

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`.

        Raises:
            ModelNotFound: The adapter is unloaded.
        """
        if self.is_gone:
            raise ModelNotFound(self._card.name, ())
        with self._used():
            steps = super().generate(
                prompt,
                max_output_tokens=max_output_tokens,
                request_id=request_id,
                ceiling=ceiling,
                said=said,
            )
            async with aclosing(steps):
                async for step in steps:
                    yield step

    async def close(self) -> None:
        """See `Engine.close`: the engine is the base model's, which ends it."""


def in_use(engine: Engine) -> AbstractContextManager[None]:
    """Keep what an engine answers with loaded until the block's end; see `AdaptedEngine.run`."""
    return engine.run() if isinstance(engine, AdaptedEngine) else nullcontext()


def _card(base: ModelCard, adapter: Adapter) -> ModelCard:
    """What the model can do with the adapter; other weights answer, so the fingerprint is another."""
    fingerprint = digest(base.fingerprint.encode(), adapter.revision.encode()).hex()
    return replace(
        base,
        name=adapter.model,
        revision=adapter.revision,
        fingerprint=fingerprint if base.fingerprint else "",
    )
