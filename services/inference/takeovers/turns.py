"""The turns of a run that was taken over: the first goes on where it was cut."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import Turn
from services.inference.reading.step import Step, TurnUsage
from services.inference.resumption.errors import RunLost
from services.inference.runs.turn_source import CacheState, TurnSource
from services.inference.takeovers.past import Past
from services.inference.turn_cache.continuation import Continuation, Diverged


class TakenTurns:
    """The turns of one run. It implements `TurnSource`.

    The turn that was cut goes on after its tokens, or is said again and what
    its client had is left out, each letter compared.
    """

    def __init__(self, turns: TurnSource, past: Past) -> None:
        """Take turns from a source, and the first after what was."""
        self._turns = turns
        self._past: Past | None = None if past.turn.is_over else past

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._turns.card

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        return await self._turns.render(turn)

    async def foresee(self, prompt: Prompt, max_output_tokens: int) -> CacheState:
        """See `TurnSource.foresee`."""
        return await self._turns.foresee(prompt, max_output_tokens)

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
            RunLost: The turn says something else than was said.
        """
        past, self._past = self._past, None
        if past is not None:
            # The end of a turn that is as long as it may be is said again.
            said = past.turn.token_ids[: max_output_tokens - 1]
        told = Continuation([Step(tuple(past.turn.deltas), TurnUsage())] if past is not None else [])
        steps = self._turns.generate(
            prompt, max_output_tokens=max_output_tokens, request_id=request_id, ceiling=ceiling, said=said
        )
        async with aclosing(steps):
            async for step in steps:
                try:
                    new = told.read(step)
                except Diverged:
                    raise RunLost(past.run_id if past is not None else "") from None
                if new is not None:
                    yield new
