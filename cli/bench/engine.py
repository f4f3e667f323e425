"""The baseline of `parley bench`: the engine alone, in one process, on the platform's own settings.

It takes its orders as `cli.bench.orders` says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any

from cli.bench.answering import Answering
from cli.bench.load import Chunk, Round
from cli.bench.orders import run
from cli.bench.prompts import bench_question
from cli.bench.streams import Ask, Load
from services.inference.engine.port import Prompt
from services.inference.engine.status import EngineReadings
from services.inference.engine.turn import Message, Role, Sampling, Turn
from services.inference.settings import EngineSettings
from services.inference.vllm.engine import VllmEngine
from services.inference.vllm.rendering import Rendered
from services.inference.vllm.start import build_llm
from services.inference.vllm.turns import sampling_params


class EngineHere(Answering):
    """An engine that runs in this process."""

    def __init__(self, settings: EngineSettings, *, tells: bool) -> None:
        """Load it.

        Args:
            settings: How it is built.
            tells: Whether it counts its requests after each step.
        """
        super().__init__()
        readings = EngineReadings(settings.name) if tells else None
        self._llm = build_llm(settings, readings)
        self._engine = VllmEngine(self._llm, settings, readings)
        self._defaults: dict[str, Any] = self._llm.model_config.get_diff_sampling_param()
        self._numbers = count()
        self._ready: Mapping[Ask, Prompt] = {}

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See `Answering.stream`."""
        prompt = self._ready.get(ask) or await self._render(ask)
        rendered = prompt.native
        assert isinstance(rendered, Rendered)  # noqa: S101 - this engine's own
        tokens = ask.tokens or self._engine.card.context_length - prompt.tokens
        sampling = sampling_params(rendered.request, tokens, self._defaults)
        outputs = self._llm.generate(rendered.inputs, sampling, f"bench-{next(self._numbers)}")
        async with aclosing(outputs):
            yield _chunks(outputs)

    async def load(self) -> Load:
        """See `Answering.load`."""
        status = self._engine.status
        return Load(status.running_requests, status.waiting_requests)

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`. The engine alone is given rendered prompts."""
        asks = [Ask(bench_question(number), tokens) for number in range(streams)]
        self._ready = {ask: await self._render(ask) for ask in asks}
        return await super().measure(streams, tokens)

    async def close(self) -> None:
        """End the engine's own processes."""
        await self._engine.close()

    async def _render(self, ask: Ask) -> Prompt:
        sampling = Sampling(
            temperature=ask.temperature,
            ignore_eos=True,
            choice_count=ask.choices,
            top_logprobs=ask.top_logprobs,
        )
        return await self._engine.render(Turn((Message(Role.USER, ask.text),), sampling=sampling))


async def _chunks(outputs: AsyncGenerator[Any, None]) -> AsyncIterator[Chunk]:
    async for output in outputs:
        said = output.outputs
        # A model may begin with tokens that no reader sees, such as the one that opens its reasoning.
        yield Chunk(sum(len(each.token_ids) for each in said), is_text=any(each.text for each in said))


async def load(first: Mapping[str, Any]) -> EngineHere:
    """The engine that the first order asks for; it keeps to the loop that runs."""
    return EngineHere(EngineSettings(**first["settings"]), tells=first["tells"])


if __name__ == "__main__":
    run(load)
