from __future__ import annotations

import asyncio

import pytest

from services.inference.errors import ModelNotFound
from services.inference.resumption.kept_runs import ATTENDANCE_SECONDS, KeptRun
from services.inference.resumption.tape import Bounds, Room, Tape
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Limit, Owner, Run, RunEnded

OWNER = Owner("tenant-1", "user-1")


def kept_run(seconds: float = 60.0) -> tuple[KeptRun, Run]:
    """A run that was prepared and has said something."""
    kept = KeptRun(OWNER, seconds, Tape(Room(2**20), Bounds().run_bytes), b"")
    run = Run("r", OWNER, Limit(asyncio.get_running_loop().time() + 60, FinishReason.TIME_LIMIT))
    kept.opened(run)
    kept.begin(())
    kept.tape.add(b"started")
    return kept, run


def lives(run: Run) -> bool:
    try:
        run.check()
    except RunEnded:
        return False
    return True


async def ended(run: Run) -> FinishReason:
    with pytest.raises(RunEnded) as end:
        await asyncio.wait_for(run.wait(asyncio.Event().wait()), 5)
    return end.value.reason


async def test_it_ends_with_its_window_when_nobody_reads() -> None:
    kept, run = kept_run(seconds=0.05)
    reader = kept.reader()
    assert await anext(reader.events(0)) == b"started"
    began = asyncio.get_running_loop().time()
    reader.leave()
    reader.leave()
    assert lives(run)
    assert await ended(run) is FinishReason.CANCELLED
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_the_last_reader_to_leave_counts() -> None:
    kept, run = kept_run(seconds=0)
    readers = kept.reader(), kept.reader()
    assert await anext(readers[0].events(0)) == b"started"
    readers[0].leave()
    await asyncio.sleep(0.02)
    assert lives(run)
    readers[1].leave()
    assert await ended(run) is FinishReason.CANCELLED


async def test_a_reader_that_comes_back_stops_the_clock() -> None:
    kept, run = kept_run(seconds=0.02)
    reader = kept.reader()
    assert await anext(reader.events(0)) == b"started"
    reader.leave()
    again = kept.reader()
    await asyncio.sleep(0.05)
    assert lives(run)
    again.leave()


async def test_a_reader_elsewhere_counts_for_a_while() -> None:
    kept, run = kept_run(seconds=0.02)
    reader = kept.reader()
    assert await anext(reader.events(0)) == b"started"
    reader.leave()
    assert run.attended is not None
    run.attended()
    await asyncio.sleep(0.05)
    assert lives(run)
    assert ATTENDANCE_SECONDS > 0.05
    kept.over()


async def test_a_client_that_was_told_nothing_cannot_come_back() -> None:
    kept, run = kept_run()
    kept.reader().leave()
    assert not lives(run)


async def test_an_end_before_the_run_is_opened_is_not_lost() -> None:
    kept = KeptRun(OWNER, 60, Tape(Room(2**20), 2**20), b"")
    kept.revoke()
    run = Run("r", OWNER, Limit(asyncio.get_running_loop().time() + 60, FinishReason.TIME_LIMIT))
    kept.opened(run)
    with pytest.raises(RunEnded) as end:
        run.check()
    assert end.value.reason is FinishReason.REVOKED


async def test_a_run_that_cannot_begin_says_why_to_its_reader() -> None:
    kept = KeptRun(OWNER, 60, Tape(Room(2**20), 2**20), b"")
    reader = kept.reader()
    kept.over(ModelNotFound("m", []))
    with pytest.raises(ModelNotFound):
        await kept.headers()
    with pytest.raises(ModelNotFound):
        await anext(reader.events(0))
    reader.leave()
