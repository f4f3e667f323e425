"""An engine as one run sees it: its turns may come from the cache, or from another's use of the engine."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine, Prompt, no_ceiling
from services.inference.engine.turn import Turn
from services.inference.reading.step import Step
from services.inference.runs.order import CacheMode
from services.inference.runs.turn_source import CacheState
from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.flight import Listener
from services.inference.turn_cache.key import TurnRequest, may_share
from services.inference.turn_cache.metrics import LOOK_UP_SECONDS, TURNS


class SharedTurns:
    """The turns of one run. It implements `TurnSource`."""

    def __init__(self, engine: Engine, cache: TurnCache | None, tenant_id: str, mode: CacheMode) -> None:
        """Answer a run of this tenant.

        Args:
            engine: Says what nobody said.
            cache: What was said, and is being said; None where nothing is kept.
            tenant_id: Whose run it is.
            mode: What the run wants of the cache.
        """
        self._engine = engine
        self._cache = cache
        self._tenant_id = tenant_id
        self._mode = mode
        self._rendered: tuple[Prompt, Turn] | None = None
        self._foreseen: tuple[Prompt, int] | None = None
        self._listener: Listener | None = None

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._engine.card

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        prompt = await self._engine.render(turn)
        self._rendered = (prompt, turn)
        return prompt

    async def foresee(self, prompt: Prompt, max_output_tokens: int) -> CacheState:
        """See `TurnSource.foresee`."""
        began = time.perf_counter()
        await self.leave()
        self._listener = await self._listen(prompt, max_output_tokens)
        self._foreseen = (prompt, max_output_tokens)
        state = CacheState.UNUSED if self._listener is None else await self._listener.state()
        TURNS.labels(self.card.name, state.value).inc()
        if state is not CacheState.UNUSED:
            LOOK_UP_SECONDS.observe(time.perf_counter() - began)
        return state

    async def _listen(self, prompt: Prompt, max_output_tokens: int) -> Listener | None:
        if self._cache is None or self._rendered is None or self._rendered[0] is not prompt:
            return None
        turn = self._rendered[1]
        if turn.sampling.choice_count > 1 or (turn.raw is not None and turn.raw.echo):
            # What is shared is one answer, told token by token.
            return None
        if not may_share(self._mode, turn.sampling, prompt, self.card):
            return None
        request = TurnRequest(self._tenant_id, self.card, prompt, turn, max_output_tokens)
        return await self._cache.listen(self._engine, request)

    async def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`. A shared turn has one token a step, so that every ceiling is kept.

        One that was begun elsewhere (`said`) is shared with nobody.
        """
        if said:
            self._foreseen = (prompt, max_output_tokens)
        if not self._has_foreseen(prompt, max_output_tokens):
            await self.foresee(prompt, max_output_tokens)
        steps = (
            self._listener.steps()
            if self._listener is not None
            else self._engine.generate(
                prompt,
                max_output_tokens=max_output_tokens,
                request_id=request_id,
                ceiling=ceiling,
                said=said,
            )
        )
        try:
            async for step in steps:
                yield step
        finally:
            await steps.aclose()
            await self.leave()

    def _has_foreseen(self, prompt: Prompt, max_output_tokens: int) -> bool:
        if self._foreseen is None:
            return False
        return self._foreseen[0] is prompt and self._foreseen[1] == max_output_tokens

    async def leave(self) -> None:
        """Listen no longer to a turn that nobody will read."""
        listener, self._listener, self._foreseen = self._listener, None, None
        if listener is not None:
            await listener.close()
