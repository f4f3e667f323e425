"""An engine in front of which requests wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from services.inference.adapters.port import AdapterHost
from services.inference.engine import Engine, ModelCard, Prompt, Step, Turn, no_ceiling
from services.inference.engine_status import EngineStatus
from services.inference.seats import Door
from services.inference.turn_spans import traced_turn


class SeatedEngine:
    """An `Engine` that generates for those alone who have a seat."""

    def __init__(self, engine: Engine, door: Door) -> None:
        """Put seats before an engine.

        Args:
            engine: The engine.
            door: Leads to as many seats as it has slots.
        """
        self._engine = engine
        self._door = door

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._engine.card

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return self._engine.running + self._door.waiting

    @property
    def slots(self) -> int:
        """See `Engine.slots`."""
        return self._engine.slots

    @property
    def status(self) -> EngineStatus:
        """See `Engine.status`; who waits for a seat waits, too."""
        status = self._engine.status
        return replace(status, waiting_requests=status.waiting_requests + self._door.waiting)

    @property
    def adapter_host(self) -> AdapterHost | None:
        """See `Engine.adapter_host`."""
        return self._engine.adapter_host

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        return replace(await self._engine.render(turn), choices=turn.sampling.choice_count)

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """See `Engine.tokenize`."""
        return await self._engine.tokenize(text, special=special)

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """See `Engine.detokenize`."""
        return await self._engine.detokenize(token_ids, skip_special=skip_special)

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """See `Engine.token_texts`."""
        return await self._engine.token_texts(token_ids)

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
            Overloaded: Too many requests wait.
        """
        with traced_turn(self.card.name, prompt, max_output_tokens, request_id) as spans:
            # Each choice has a slot of its own in the engine.
            async with self._door.seat(prompt.choices):
                spans.seated()
                steps = self._engine.generate(
                    prompt,
                    max_output_tokens=max_output_tokens,
                    request_id=request_id,
                    ceiling=ceiling,
                    said=said,
                )
                async with aclosing(steps):
                    async for step in steps:
                        spans.note(step)
                        yield step

    async def failed(self) -> None:
        """See `Engine.failed`."""
        await self._engine.failed()

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._engine.close()
