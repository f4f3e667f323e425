"""Chats that go on with a stored conversation."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from ulid import ULID

from parley.inference.v1 import chat_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from services.inference.conversations.library import ConversationLibrary
from services.inference.engine.turn import Role, ToolCall
from services.inference.errors import EngineFailed
from services.inference.reading.step import ContentDelta
from services.inference.runs.registry import Owner
from tests.inference.conversations.conftest import assistant, make, texts, user
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.talk import Talk
from tests.inference.test_servicer import read, reason, refusal

ADA = Owner("tenant-1", "user-1")


def going_on(conversation_id: str, text: str = "And now?", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(
        messages=[user(text)], conversation_id=conversation_id, continue_conversation=True, **fields
    )


async def test_a_chat_has_what_was_said_before_and_adds_what_is_said(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    engine = ScriptedEngine(says("Two ", "things."), says("Three."))
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada, user("Hi"), assistant("Hello."))
        which = made.conversation_id
        events = await read(process.stub.Chat(going_on(which, "What is there?"), metadata=ada))
        await read(process.stub.Chat(going_on(which), metadata=ada))
        assert [each.content for each in engine.rendered[1].messages] == [
            *("Hi", "Hello.", "What is there?", "Two things.", "And now?")
        ]
        said = await texts(process.conversations, ada, which)
        assert said == ["Hi", "Hello.", "What is there?", "Two things.", "And now?", "Three."]
        stored = await process.conversations.ListMessages(
            pb2.ListMessagesRequest(conversation_id=which), metadata=ada
        )
    answer = stored.messages[3]
    assert (answer.run_id, answer.model) == (events[0].started.run_id, "scripted")
    assert not events[-1].finished.HasField("conversation_error")


async def test_reasoning_calls_and_results_are_kept(
    replica: Replica, library: ConversationLibrary, tokens: Any
) -> None:
    metadata = tokens.metadata(
        "inference.chat", "inference.conversations.*", "models.*", "tools.list", "tools.execute"
    )
    engine = ScriptedEngine(calls(ToolCall("c1", "calculator", "{}")), says("391."), says("Yes."))
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, metadata)
        tools = chat_pb2.ServerTools(all=True)
        await read(process.stub.Chat(going_on(made.conversation_id, server_tools=tools), metadata=metadata))
        await read(process.stub.Chat(going_on(made.conversation_id, "Sure?"), metadata=metadata))
    before = engine.rendered[-1].messages
    assert [each.role for each in before] == [
        *(Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.USER)
    ]
    assert before[1].reasoning == "I need a tool."
    assert before[1].tool_calls == (ToolCall("c1", "calculator", "{}"),)
    assert before[2].content == '{"result":391}'


async def test_two_chats_at_once_do_not_mix(replica: Replica, library: ConversationLibrary, ada: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([ContentDelta("Slowly."), gate, *says(" Done.")])
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada)
        call = process.stub.Chat(going_on(made.conversation_id), metadata=ada)
        await call.read()
        await gate.reached.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(going_on(made.conversation_id), metadata=ada))
        append = pb2.AppendMessagesRequest(conversation_id=made.conversation_id, messages=[user("Me!")])
        with pytest.raises(grpc.aio.AioRpcError) as appended:
            await process.conversations.AppendMessages(append, metadata=ada)
        get = pb2.GetConversationRequest(conversation_id=made.conversation_id)
        busy = (await process.conversations.GetConversation(get, metadata=ada)).conversation.busy
        gate.open.set()
        await read(call)
        after = (await process.conversations.GetConversation(get, metadata=ada)).conversation
        said = await texts(process.conversations, ada, made.conversation_id)
    which = {"conversation_id": made.conversation_id}
    assert refusal(caught.value) == refusal(appended.value) == ("CONVERSATION_BUSY", which)
    assert (busy, after.busy, said) == (True, False, ["And now?", "Slowly. Done."])


async def test_what_was_said_to_a_client_that_left_is_kept(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    gate = Gate()
    engine = ScriptedEngine([ContentDelta("Half"), gate, *says(" and half.")])
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada)
        call = process.stub.Chat(going_on(made.conversation_id), metadata=ada)
        await call.read()
        await gate.reached.wait()
        call.cancel()
        async with asyncio.timeout(10):
            while (await library.get(ADA, made.conversation_id)).hold:  # noqa: ASYNC110 - nobody else is told
                await asyncio.sleep(0.01)
        assert await texts(process.conversations, ada, made.conversation_id) == ["And now?", "Half"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([EngineFailed("scripted")], []),
        ([ContentDelta("Half"), EngineFailed("scripted")], ["And now?", "Half"]),
    ],
)
async def test_a_run_that_fails_keeps_what_it_said(
    replica: Replica, library: ConversationLibrary, ada: Any, script: Any, said: list[str]
) -> None:
    async with replica(ScriptedEngine(script, says("Again.")), library=library) as process:
        made = await make(process.conversations, ada)
        events = await read(process.stub.Chat(going_on(made.conversation_id), metadata=ada))
        assert reason(events) == "ERROR"
        assert await texts(process.conversations, ada, made.conversation_id) == said
        await read(process.stub.Chat(going_on(made.conversation_id), metadata=ada))


async def test_calls_that_the_client_must_answer_are_kept_with_their_answers(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    asked = ToolCall("c1", "look", "{}")
    engine = ScriptedEngine(calls(asked), says("There."))
    tools = chat_pb2.ClientTools(tools=[chat_pb2.ClientTool(name="look")])
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada)
        request = going_on(made.conversation_id, client_tools=tools)
        assert reason(await read(process.stub.Chat(request, metadata=ada))) == "TOOL_CALLS"
        assert await texts(process.conversations, ada, made.conversation_id) == []
        call = message_pb2.ToolCall(id="c1", name="look", arguments="{}")
        request.messages.add(role=message_pb2.ROLE_ASSISTANT, tool_calls=[call])
        request.messages.add(role=message_pb2.ROLE_TOOL, tool_call_id="c1", content=[{"text": "seen"}])
        assert reason(await read(process.stub.Chat(request, metadata=ada))) == "STOP"
        said = await texts(process.conversations, ada, made.conversation_id)
    assert said == ["And now?", "", "seen", "There."]


async def test_a_conversation_that_is_deleted_meanwhile_is_told_at_the_end(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    gate = Gate()
    engine = ScriptedEngine([ContentDelta("Well"), gate, *says(".")])
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada)
        call = process.stub.Chat(going_on(made.conversation_id), metadata=ada)
        await call.read()
        await gate.reached.wait()
        which = pb2.DeleteConversationRequest(conversation_id=made.conversation_id)
        await process.conversations.DeleteConversation(which, metadata=ada)
        gate.open.set()
        events = await read(call)
    finished = events[-1].finished
    assert finished.reason == chat_pb2.FINISH_REASON_STOP
    assert "no conversation" in finished.conversation_error.message


async def test_a_hold_of_a_replica_that_was_lost_lapses(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    async with replica(ScriptedEngine(says("Here.")), library=library) as process:
        made = await make(process.conversations, ada)
        await library.hold(ADA, made.conversation_id, seconds=-1)
        await read(process.stub.Chat(going_on(made.conversation_id), metadata=ada))
        assert await texts(process.conversations, ada, made.conversation_id) == ["And now?", "Here."]


async def test_nobody_goes_on_with_somebody_elses(
    replica: Replica, library: ConversationLibrary, ada: Any, stranger: Any
) -> None:
    engine = ScriptedEngine()
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada, user("secret"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(going_on(made.conversation_id), metadata=stranger))
    assert refusal(caught.value)[0] == "CONVERSATION_NOT_FOUND"
    assert engine.rendered == []


@pytest.mark.parametrize("conversation_id", ["", "trip-to-rome", "01ARZ3NDEKTSV4RRFFQ69G5FAV0"])
async def test_only_a_stored_conversation_can_be_gone_on_with(
    replica: Replica, ada: Any, conversation_id: str
) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(going_on(conversation_id), metadata=ada))
    assert refusal(caught.value)[0] == "INVALID_REQUEST"


async def test_without_a_database_it_says_so(replica: Replica, ada: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(going_on(str(ULID())), metadata=ada))
    assert refusal(caught.value)[0] == "CONVERSATIONS_OFF"


async def test_turns_on_one_stream_go_on_with_it_and_know_what_was_added_elsewhere(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    engine = ScriptedEngine(says("Two."), says("Three."))
    async with replica(engine, library=library) as process:
        made = await make(process.conversations, ada, user("Hi"), assistant("Hello."))
        which = made.conversation_id
        talk = Talk(process.stub, ada)
        await talk.set_up(conversation_id=which, continue_conversation=True)
        await talk.say("What is there?")
        assert await talk.finish() == "STOP"
        added = pb2.AppendMessagesRequest(
            conversation_id=which, messages=[user("I also ask."), assistant("I also say.")]
        )
        await process.conversations.AppendMessages(added, metadata=ada)
        await talk.say("And now?")
        assert await talk.finish() == "STOP"
        assert await talk.hang_up() is grpc.aio.EOF
        said = await texts(process.conversations, ada, which)
    before = ["Hi", "Hello.", "What is there?", "Two.", "I also ask.", "I also say.", "And now?"]
    assert [each.content for each in engine.rendered[1].messages] == before
    assert said == [*before, "Three."]


async def test_a_turn_of_a_conversation_that_is_not_there_is_refused_and_the_stream_goes_on(
    replica: Replica, library: ConversationLibrary, ada: Any
) -> None:
    async with replica(ScriptedEngine(), library=library) as process:
        talk = Talk(process.stub, ada)
        await talk.set_up(conversation_id=str(ULID()), continue_conversation=True)
        for number in (2, 3):
            await talk.say("Hi")
            assert await talk.refused() == (number, "CONVERSATION_NOT_FOUND")
        assert await talk.hang_up() is grpc.aio.EOF


@pytest.mark.parametrize(
    "fields",
    [{"conversation_id": "mine"}, {"conversation_id": str(ULID.from_int(1)), "messages": [user("Hi")]}],
)
async def test_a_stored_conversation_has_an_id_and_messages_of_its_own(
    replica: Replica, library: ConversationLibrary, ada: Any, fields: dict[str, Any]
) -> None:
    async with replica(ScriptedEngine(), library=library) as process:
        talk = Talk(process.stub, ada)
        await talk.set_up(continue_conversation=True, **fields)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk.next()
    assert refusal(caught.value)[0] == "INVALID_REQUEST"
