"""What every engine around another one hands on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from services.inference.adapters.port import AdapterHost
from services.inference.engine.model_card import ModelCard
from services.inference.engine.port import Engine, Prompt, no_ceiling
from services.inference.engine.status import EngineStatus
from services.inference.engine.turn import Turn
from services.inference.reading.step import Step


class WrappedEngine:
    """An `Engine` that is another one, but for what a subclass does itself."""

    def __init__(self, engine: Engine) -> None:
        """Hand all on to this engine."""
        self._engine = engine

    @property
    def card(self) -> ModelCard:
        """See `Engine.card`."""
        return self._engine.card

    @property
    def running(self) -> int:
        """See `Engine.running`."""
        return self._engine.running

    @property
    def slots(self) -> int:
        """See `Engine.slots`."""
        return self._engine.slots

    @property
    def status(self) -> EngineStatus:
        """See `Engine.status`."""
        return self._engine.status

    @property
    def adapter_host(self) -> AdapterHost | None:
        """See `Engine.adapter_host`."""
        return self._engine.adapter_host

    async def render(self, turn: Turn) -> Prompt:
        """See `Engine.render`."""
        return await self._engine.render(turn)

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
        return self._engine.generate(
            prompt, max_output_tokens=max_output_tokens, request_id=request_id, ceiling=ceiling, said=said
        )

    async def tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        """See `Engine.tokenize`."""
        return await self._engine.tokenize(text, special=special)

    async def detokenize(self, token_ids: Sequence[int], *, skip_special: bool) -> str:
        """See `Engine.detokenize`."""
        return await self._engine.detokenize(token_ids, skip_special=skip_special)

    async def token_texts(self, token_ids: Sequence[int]) -> tuple[bytes, ...]:
        """See `Engine.token_texts`."""
        return await self._engine.token_texts(token_ids)

    async def failed(self) -> None:
        """See `Engine.failed`."""
        await self._engine.failed()

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._engine.close()
