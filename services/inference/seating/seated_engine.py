"""An engine in front of which requests wait for their turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace

from services.inference.engine.port import Engine, Prompt, no_ceiling
from services.inference.engine.status import EngineStatus
from services.inference.engine.turn import Turn
from services.inference.engine.turn_spans import traced_turn
from services.inference.engine.wrapped import WrappedEngine
from services.inference.reading.step import Step
from services.inference.seating.seats import Door


class SeatedEngine(WrappedEngine):
    """An `Engine` that generates for those alone who have a seat."""

    def __init__(self, engine: Engine, door: Door) -> None:
        """Put seats before an engine.

        Args:
            engine: The engine.
            door: Leads to as many seats as it has slots.
        """
        super().__init__(engine)
        self._door = door

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return super().running + self._door.waiting

    @property
    def status(self) -> EngineStatus:
        """See `Engine.status`; who waits for a seat waits, too."""
        status = super().status
        return replace(status, waiting_requests=status.waiting_requests + self._door.waiting)

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        return replace(await super().render(turn), choices=turn.sampling.choice_count)

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
                steps = super().generate(
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
