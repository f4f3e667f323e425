"""What a run takes its turns from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from enum import Enum
from typing import Protocol

from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Prompt, no_ceiling
from services.inference.engine.turn import Turn
from services.inference.reading.step import Step


class CacheState(Enum):
    """What the cache had of a turn."""

    UNUSED = "unused"
    MISS = "miss"
    HIT = "hit"
    SHARED = "shared"


class TurnSource(Protocol):
    """What answers the turns of one run: an engine, or what it said before, or says for others."""

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        ...

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        ...

    async def foresee(self, prompt: Prompt, max_output_tokens: int) -> CacheState:
        """Tell where a turn will come from; `generate`, asked for the same, takes it from there."""
        ...

    def generate(
        self,
        prompt: Prompt,
        *,
        max_output_tokens: int,
        request_id: str,
        ceiling: Callable[[], int | None] = no_ceiling,
        said: Sequence[int] = (),
    ) -> AsyncGenerator[Step, None]:
        """See `Engine.generate`."""
        ...
