"""Reading a run that nobody has any more, from its journal in a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.inference.v1 import chat_pb2
from services.inference.reading.step import ContentDelta
from services.inference.replicas.mailbox import StoreMailbox
from services.inference.resumption.journal import Journal
from services.inference.resumption.remote_runs import RemoteReader
from services.inference.resumption.tape import Room, Tape
from services.inference.runs.events import Finished, FinishReason
from services.inference.runs.registry import Limit, Owner, RunRegistry
from services.inference.translation import events as translate_events
from tests.inference.test_journal import of

OWNER = Owner("tenant-1", "user-1")


@pytest.fixture
def runs() -> RunRegistry:
    return RunRegistry()


@pytest.fixture
async def mailbox(store: Redis, runs: RunRegistry) -> AsyncIterator[StoreMailbox]:
    mailbox = StoreMailbox(store, runs)
    async with mailbox.listening():
        await asyncio.wait_for(mailbox.wait_until_listening(), 5)
        yield mailbox


@pytest.fixture
def tape() -> Tape:
    return Tape(Room(2**20), 2**20)


def say(tape: Tape, event: ContentDelta | Finished) -> None:
    tape.add(translate_events.chat_response(tape.last + 1, "r", event).SerializeToString())


async def nobody_goes_on(run_id: str, owner: Owner) -> None:
    """No replica can go on with a run."""


async def read(store: Redis, mailbox: StoreMailbox, run_id: str, after: int) -> list[chat_pb2.ChatEvent]:
    reader = RemoteReader(run_id, OWNER, Journal(store), mailbox, asyncio.Event(), nobody_goes_on)
    return [chat_pb2.ChatResponse.FromString(event).event async for event in reader.events(after)]


async def test_a_run_that_was_lost_is_finished_with_its_next_number(
    store: Redis, mailbox: StoreMailbox, tape: Tape
) -> None:
    run_id = str(ULID())
    say(tape, ContentDelta("Once"))
    tape.end()
    await Journal(store).keep(of(run_id, tape))
    whole = await read(store, mailbox, run_id, 0)
    assert [(event.sequence, event.WhichOneof("event")) for event in whole] == [
        (1, "content_delta"),
        (2, "finished"),
    ]
    assert await read(store, mailbox, run_id, 1) == whole[1:]
    # Its reader had seen more than was written.
    assert [event.sequence for event in await read(store, mailbox, run_id, 7)] == [8]


async def test_who_has_the_last_event_before_the_journal_has_it_is_told_nothing_more(
    store: Redis, runs: RunRegistry, mailbox: StoreMailbox, tape: Tape
) -> None:
    heard = asyncio.Event()
    until = Limit(asyncio.get_running_loop().time() + 60, FinishReason.TIME_LIMIT)
    with runs.open(OWNER, until) as run:
        run.attended = heard.set
        writing = asyncio.create_task(Journal(store).keep(of(run.run_id, tape)))
        say(tape, ContentDelta("Once"))
        async with asyncio.timeout(5):
            while (await Journal(store).last(run.run_id))[0] < 1:
                pass
        reading = asyncio.create_task(read(store, mailbox, run.run_id, 2))
        await asyncio.wait_for(heard.wait(), 5)
        say(tape, Finished(FinishReason.STOP))
        tape.end()
        await asyncio.wait_for(writing, 5)
    assert await asyncio.wait_for(reading, 10) == []
