"""Conversations whose run went on at another replica: one writer, one answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from parley.inference.v1 import chat_pb2
from services.inference.conversations.errors import ConversationBusy
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.messages import NewMessage, body
from services.inference.reading.step import ContentDelta
from services.inference.resumption.journal import Journal
from tests.inference.conversations.conftest import assistant, make, texts, user
from tests.inference.conversations.test_continuing import ADA, going_on
from tests.inference.replicas import InferenceProcess, Replica
from tests.inference.scripted import Gate, ScriptedEngine, says
from tests.inference.test_resumption import rest, run_of, window
from tests.inference.test_servicer import read, reason
from tests.inference.test_takeovers import lose, loss

AGAIN = chat_pb2.SamplingOptions(temperature=0)


async def said_once(process: InferenceProcess, metadata: Any) -> tuple[chat_pb2.ChatRequest, list[Any]]:
    """A run with a window in a new conversation, to its end."""
    made = await make(process.conversations, metadata, user("Hi"))
    request = going_on(made.conversation_id, sampling=AGAIN, **window())
    return request, await read(process.stub.Chat(request, metadata=metadata))


async def test_who_was_lost_adds_nothing_once_another_holds_its_conversation(
    library: ConversationLibrary,
) -> None:
    which = (await library.create(ADA, "", "", [])).conversation_id
    lost = await library.hold(ADA, which, 60, "lost")
    heir = await library.take_over(ADA, which, "lost", "heir", 60)
    assert heir is not None
    assert await library.take_over(ADA, which, "lost", "another", 60) is None
    with pytest.raises(ConversationBusy):
        await library.release(lost, [NewMessage(assistant("Mine."))])
    await library.release(heir, [NewMessage(assistant("Once."))])
    assert await library.take_over(ADA, which, "heir", "late", 60) is None
    assert [body(each) for each in await library.messages(ADA, which, -1, 10)] == [assistant("Once.")]


async def test_the_heir_of_a_run_adds_its_answer_to_the_conversation(
    replica: Replica, library: ConversationLibrary, ada: Any, store: Redis
) -> None:
    engine = ScriptedEngine(says("Two ", "things."), says("Two ", "things."))
    async with replica(engine, library=library) as process:
        request, whole = await said_once(process, ada)
        other = await make(process.conversations, ada, user("Hi"))
        request.conversation_id = other.conversation_id
        await library.hold(ADA, other.conversation_id, 60, "lost")
        run_id = await lose(store, whole[:2], request, ADA)
        again = await rest(process.stub, run_id, 0, ada)
        told = await texts(process.conversations, ada, other.conversation_id)
    assert (reason(again), told) == ("STOP", ["Hi", "And now?", "Two things."])
    assert not again[-1].finished.HasField("conversation_error")


async def test_a_run_whose_answer_is_stored_is_lost_and_not_said_again(
    replica: Replica, library: ConversationLibrary, ada: Any, store: Redis
) -> None:
    async with replica(ScriptedEngine(says("Once.")), library=library) as process:
        request, whole = await said_once(process, ada)
        run_id = await lose(store, whole[:2], request, ADA)
        again = await rest(process.stub, run_id, 0, ada)
        told = await texts(process.conversations, ada, request.conversation_id)
    assert (reason(again), loss(again)) == ("ERROR", "RUN_LOST")
    assert told == ["Hi", "And now?", "Once."]


async def test_a_replica_that_comes_back_stores_nothing(
    replica: Replica, library: ConversationLibrary, ada: Any, store: Redis
) -> None:
    gate, journal = Gate(), Journal(store)
    engine = ScriptedEngine([ContentDelta("Once "), gate, *says("upon.")])
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada)
        call = process.stub.Chat(going_on(made.conversation_id, **window()), metadata=ada)
        run_id = run_of([(await call.read()).event])
        await gate.reached.wait()
        async with asyncio.timeout(15):
            while await journal.recall(run_id) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer = (await library.get(ADA, made.conversation_id)).hold
        assert await journal.claim(run_id, writer, "heir")
        heir = await library.take_over(ADA, made.conversation_id, writer, "heir", 60)
        gate.open.set()
        tail = await read(call)
        assert await process.runs.wait_until_empty(15)
        before = await texts(process.conversations, ada, made.conversation_id)
        assert heir is not None
        await library.release(heir, [NewMessage(assistant("The heir's."))])
        after = await texts(process.conversations, ada, made.conversation_id)
    assert loss(tail) == "RUN_LOST" or tail[-1].finished.HasField("conversation_error")
    assert (before, after) == ([], ["The heir's."])
