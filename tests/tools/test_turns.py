from __future__ import annotations

import asyncio

import pytest

from services.rpc.errors import Overloaded
from services.tools.turns import Turns


class Crowd:
    """Calls that take a turn and keep it until they are let go."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: list[str] = []
        self.leave = asyncio.Event()

    async def visit(self, caller: str) -> None:
        async with self.turns.turn(caller):
            self.inside.append(caller)
            await self.leave.wait()


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_caller_runs_no_more_than_it_may_while_others_go_ahead() -> None:
    crowd = Crowd(Turns(running=10, running_per_caller=2, waiting_per_caller=5))
    async with asyncio.TaskGroup() as tasks:
        for caller in ("a", "a", "a", "a", "b"):
            tasks.create_task(crowd.visit(caller))
        await settle()
        assert sorted(crowd.inside) == ["a", "a", "b"]
        crowd.leave.set()
    assert sorted(crowd.inside) == ["a", "a", "a", "a", "b"]
    assert crowd.turns.callers == 0


async def test_all_callers_together_run_no_more_than_they_may() -> None:
    crowd = Crowd(Turns(running=2, running_per_caller=2, waiting_per_caller=5))
    async with asyncio.TaskGroup() as tasks:
        for caller in "abc":
            tasks.create_task(crowd.visit(caller))
        await settle()
        assert crowd.inside == ["a", "b"]
        crowd.leave.set()
    assert crowd.inside == ["a", "b", "c"]


async def test_the_queue_is_bounded_per_caller() -> None:
    crowd = Crowd(Turns(running=10, running_per_caller=1, waiting_per_caller=1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(crowd.visit("a"))
        tasks.create_task(crowd.visit("a"))
        await settle()
        with pytest.raises(Overloaded) as caught:
            await crowd.visit("a")
        assert caught.value.retry_after is not None
        tasks.create_task(crowd.visit("b"))
        await settle()
        assert crowd.inside == ["a", "b"]
        crowd.leave.set()


async def test_one_who_gives_up_waiting_leaves_nothing_behind() -> None:
    crowd = Crowd(Turns(running=1, running_per_caller=1, waiting_per_caller=1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(crowd.visit("a"))
        await settle()
        waiting = asyncio.create_task(crowd.visit("b"))
        await settle()
        assert crowd.turns.callers == 2
        waiting.cancel()
        await settle()
        assert crowd.turns.callers == 1
        crowd.leave.set()
    assert crowd.turns.callers == 0
