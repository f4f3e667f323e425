"""Asks a variant what callers asked, when they have been answered: nobody sees what it says.

A shadow has the run's first turn alone, with the same tools offered and none of them run, without the
cache and at nobody's expense. It is asked only where the engine has slots to spare, and never waited
for: what does not fit is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from ulid import ULID

from services.inference.agent_loop import AgentLoop
from services.inference.calling.tool_calls import Toolbox
from services.inference.engine import Engine, no_ceiling
from services.inference.events import FinishReason
from services.inference.order import CacheMode, ChatOrder
from services.inference.rollouts.samples import Sample, sample_of, sampled
from services.inference.rollouts.trial import Trial
from services.inference.rollouts.variants import Variant
from services.inference.runs import Limit, Run, RunEnded
from services.inference.turn_cache.source import SharedTurns
from services.rpc.call import Call, current_call, enter_call
from services.rpc.errors import ServiceError

MOST_AT_ONCE = 2
MOST_SECONDS = 60.0
# So many times the slots that are taken, with the shadow's own, an engine must have.
SPARE = 2

Take = Callable[[Sample], None]


class Shadows:
    """The shadows of one replica."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def casting(self) -> AsyncIterator[None]:
        """Give up what is asked when the block ends."""
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cast(self, trial: Trial, run: Run, order: ChatOrder, engine: Engine, toolbox: Toolbox) -> None:
        """Ask the shadows of a trial what a run was asked, where there is room for them.

        Args:
            trial: What answered.
            run: The run, which is over.
            order: What was asked, before a variant changed it.
            engine: The engine of the trial's model.
            toolbox: The platform's tools, of which none will run.
        """
        if order.raw is not None:
            return
        for variant, take in trial.shadows(run.run_id):
            if len(self._tasks) >= MOST_AT_ONCE or (engine.running + 1) * SPARE > engine.slots:
                return
            task = asyncio.create_task(_ask(variant, take, run, order, engine, toolbox), name="shadow")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _ask(
    variant: Variant, take: Take, run: Run, order: ChatOrder, engine: Engine, toolbox: Toolbox
) -> None:
    """Ask a variant, and take what it shows."""
    limit = Limit(asyncio.get_running_loop().time() + MOST_SECONDS, FinishReason.TIME_LIMIT)
    shadow = Run(str(ULID()), run.owner, limit)
    asked = variant.applied(replace(order, limits=replace(order.limits, max_tool_rounds=0)))
    turns = SharedTurns(engine, None, run.owner.tenant_id, CacheMode.OFF)
    loop = AgentLoop(shadow, asked, turns, toolbox, NobodysPurse())
    try:
        await loop.prepare()
    except RunEnded:
        return
    except ServiceError as error:
        if (sample := sample_of(error)) is not None:
            take(sample)
        return
    # It shall not count against the caller at the engine's seats.
    enter_call(Call(request_id=current_call().request_id, method=current_call().method))
    async with aclosing(sampled(loop.events(), take)) as events:
        async for _ in events:
            pass


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
