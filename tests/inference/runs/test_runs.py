from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Limit, Owner, Run, RunEnded, RunRegistry
from tests.conftest import TokenMaker

OWNER = Owner("tenant-1", "user-1")


def limit(seconds: float = 60.0) -> Limit:
    return Limit(asyncio.get_running_loop().time() + seconds, FinishReason.TIME_LIMIT)


def test_an_owner_is_a_user_of_a_tenant(tokens: TokenMaker) -> None:
    assert Owner.of(tokens.principal()) == OWNER


async def test_waiting_gives_what_was_awaited() -> None:
    run = Run("r", OWNER, limit())
    assert await run.wait(asyncio.sleep(0, "done")) == "done"


async def test_events_are_numbered_from_one() -> None:
    run = Run("r", OWNER, limit())
    assert [run.next_sequence(), run.next_sequence()] == [1, 2]


async def test_the_first_reason_stands() -> None:
    run = Run("r", OWNER, limit())
    run.end(FinishReason.CANCELLED)
    run.end(FinishReason.DEADLINE)
    with pytest.raises(RunEnded) as ended:
        run.check()
    assert ended.value.reason is FinishReason.CANCELLED


async def test_a_timeout_of_the_awaited_thing_is_its_own() -> None:
    async def fails() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await Run("r", OWNER, limit()).wait(fails())


async def test_a_cancelled_task_stays_cancelled() -> None:
    run = Run("r", OWNER, limit())
    waiting = asyncio.create_task(run.wait(asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_stream_is_closed_at_the_blocks_end() -> None:
    closed = asyncio.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            closed.set()

    async with Run("r", OWNER, limit()).reading(numbers()) as reader:
        assert await anext(reader) == 0
    assert closed.is_set()


async def test_the_registry_knows_runs_while_they_live() -> None:
    runs = RunRegistry()
    with runs.open(OWNER, limit()) as run:
        assert len(runs) == 1
        assert not await runs.wait_until_empty(0)
        assert not runs.end(run.run_id, Owner("tenant-1", "user-2"), FinishReason.CANCELLED)
        assert runs.end(run.run_id, OWNER, FinishReason.CANCELLED)
    assert not runs.end(run.run_id, OWNER, FinishReason.CANCELLED)
    assert await runs.wait_until_empty(0)
