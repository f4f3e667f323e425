"""A run of nobody's: what a shadow is asked, whom it belongs to, what it may use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ulid import ULID

from services.inference.adapters.adapted_engine import in_use
from services.inference.calling.catalogue import ServerTool
from services.inference.calling.tool_calls import Offer, ToolSelection
from services.inference.engine.port import Engine, no_ceiling
from services.inference.engine.turn import ToolCall
from services.inference.rollouts.questions import Question
from services.inference.rollouts.samples import Sample, sample_of, sampled
from services.inference.runs.agent_loop import AgentLoop
from services.inference.runs.events import CallUpdate, FinishReason
from services.inference.runs.order import CacheMode
from services.inference.runs.registry import Limit, Owner, Run, RunEnded
from services.inference.turn_cache.source import SharedTurns
from services.rpc.call import Call, enter_call
from services.rpc.errors import DependencyUnavailable, ServiceError

MOST_SECONDS = 60.0
METHOD = "/parley.inference.v1.InferenceService/Chat"


async def ask(engine: Engine, question: Question, take: Callable[[Sample], None]) -> None:
    """Ask an engine, and take what it shows."""
    # A call of nobody: it shall not count against the caller at the engine's seats.
    enter_call(Call(request_id=question.request_id, method=METHOD))
    limit = Limit(asyncio.get_running_loop().time() + MOST_SECONDS, FinishReason.TIME_LIMIT)
    run = Run(str(ULID()), Owner(question.tenant_id, ""), limit)
    turns = SharedTurns(engine, None, question.tenant_id, CacheMode.OFF)
    loop = AgentLoop(run, question.order, turns, ShownTools(question.tools), NobodysPurse())
    with in_use(engine):
        try:
            await loop.prepare()
        except RunEnded:
            return
        except ServiceError as error:
            if (sample := sample_of(error)) is not None:
                take(sample)
            return
        async with aclosing(sampled(loop.events(), take)) as events:
            async for _ in events:
                pass


@dataclass(frozen=True, slots=True)
class ShownTools:
    """Tools that a model is told of, and that do not run.

    Attributes:
        tools: The tools.
    """

    tools: tuple[ServerTool, ...]

    async def offer(self, selection: ToolSelection) -> Offer:
        """See `Toolbox.offer`: they were selected before."""
        return Offer(self.tools)

    async def execute(
        self, calls: Sequence[ToolCall], conversation_id: str = ""
    ) -> AsyncGenerator[CallUpdate, None]:
        """See `Toolbox.execute`: nobody may call.

        Raises:
            DependencyUnavailable: Always.
        """
        raise DependencyUnavailable("tools")
        yield


class NobodysPurse:
    """Pays for everything, on nobody's account."""

    async def open(self, prompt_tokens: int) -> None:
        """See `Purse.open`."""

    async def begin_turn(self, prompt_tokens: int, used: int) -> bool:
        """See `Purse.begin_turn`."""
        return True

    def covers(self, used: int) -> bool:
        """See `Purse.covers`."""
        return True

    async def wait_for_more(self, used: int) -> bool:
        """See `Purse.wait_for_more`."""
        return True

    def ceiling(self, used_before: int) -> Callable[[], int | None]:
        """See `Purse.ceiling`."""
        return no_ceiling
