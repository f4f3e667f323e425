from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from parley.inference.v1 import chat_pb2
from parley_client.client import Client
from parley_client.stream import EventStream
from web.answer import Answer, Pace
from web.conversation import Turn
from web.run import Run
from web.session import MAX_CONVERSATIONS, MAX_TABS, Session, SessionStore


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> SessionStore:
    return SessionStore(max_sessions=2, idle_seconds=60, clock=clock)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(grpc.aio.insecure_channel("127.0.0.1:1")) as client:
        yield client


def turn() -> Turn:
    return Turn("x", Answer(Pace(0)))


def hanging_run(session: Session) -> Run[Answer]:
    """A run whose call never opens."""

    async def never() -> grpc.aio.UnaryStreamCall[chat_pb2.ChatRequest, chat_pb2.ChatResponse]:
        await asyncio.Event().wait()
        raise AssertionError

    return Run(session.begin().id, Answer(Pace(0)), EventStream(never, lambda response: response.event))


async def test_a_session_is_found_by_its_id_alone(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    assert store.find(session.id) is session
    assert store.find("guess") is None
    assert store.find(None) is None
    assert len(session.id) >= 43


async def test_ids_are_not_shown(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    assert session.id not in repr(session)


async def test_an_unused_session_expires(store: SessionStore, client: Client, clock: Clock) -> None:
    session = await store.open("ada", client)
    clock.now = 59
    assert store.find(session.id) is session
    clock.now = 59 + 61
    assert store.find(session.id) is None
    await store.open("ada", client)
    clock.now = 60
    assert store.find(session.id) is None


async def test_beyond_the_bound_the_longest_unused_goes(store: SessionStore, client: Client) -> None:
    first, second = await store.open("a", client), await store.open("b", client)
    store.find(first.id)
    third = await store.open("c", client)
    assert [store.find(session.id) is not None for session in (first, second, third)] == [True, False, True]


async def test_the_end_of_a_session_ends_its_answers(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    tab = await store.tab(session, "t")
    assert tab is not None
    tab.run = hanging_run(session)
    assert session.answering(tab.run.about)
    await store.end(session.id)
    assert tab.run.answer.stopped
    assert not session.answering(tab.run.about)


async def test_a_tab_belongs_to_one_session(store: SessionStore, client: Client) -> None:
    mine, other = await store.open("a", client), await store.open("b", client)
    tab = await store.tab(mine, "t")
    assert tab is await store.tab(mine, "t")
    assert await store.tab(other, "t") is None
    await store.end(mine.id)
    assert await store.tab(other, "t") is not None


async def test_tabs_are_bounded_and_closing_one_ends_its_answer(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    tab = await store.tab(session, "first")
    assert tab is not None
    tab.run = hanging_run(session)
    for number in range(MAX_TABS):
        await store.tab(session, str(number))
    assert len(session.tabs) == MAX_TABS
    assert tab.run.answer.stopped
    await store.close_tab(session, "never seen")


async def test_conversations_are_bounded(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    first = session.begin()
    first.turns.append(turn())
    for _ in range(MAX_CONVERSATIONS):
        session.begin().turns.append(turn())
    assert len(session.conversations) == MAX_CONVERSATIONS
    assert first.id not in session.conversations


async def test_an_empty_conversation_is_taken_again(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    assert session.begin() is session.begin()
    assert session.conversation("unknown") is session.begin()


async def test_closing_the_store_forgets_everybody(store: SessionStore, client: Client) -> None:
    session = await store.open("ada", client)
    await store.close()
    await store.end("unknown")
    assert store.find(session.id) is None
