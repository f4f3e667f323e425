"""Images in chats, over the service: shown to models that take them, kept, and refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from parley.inference.v1 import chat_pb2, inference_service_pb2, message_pb2, model_pb2, tokens_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from services.inference.conversations.library import ConversationLibrary
from services.inference.conversations.schema import migrate
from services.inference.images.image import ImageLimits
from services.sql.database import Database, parse_url
from tests.inference.pictures import BLUE, RED, SightedEngine, moving, picture, shown
from tests.inference.replicas import Replica
from tests.inference.scripted import ScriptedEngine, says
from tests.inference.talk import Talk
from tests.inference.test_servicer import PERMISSIONS, read, reason, refusal
from tests.postgresql import sqlite_url

QUESTION = shown("What is ", picture(RED), " this?", picture(BLUE))


@pytest.fixture
def metadata(tokens: Any) -> Any:
    return tokens.metadata(*PERMISSIONS, "inference.conversations.*")


def chat(*messages: message_pb2.Message, **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=messages or [QUESTION], **fields)


async def test_a_model_that_takes_images_is_shown_them_where_they_stand(
    replica: Replica, metadata: Any
) -> None:
    engine = SightedEngine(says("A red and a blue one."))
    async with replica(engine) as process:
        events = await read(process.stub.Chat(chat(), metadata=metadata))
        answer = await process.stub.GetModel(
            inference_service_pb2.GetModelRequest(name="scripted"), metadata=metadata
        )
    assert reason(events) == "STOP"
    assert engine.colours == [[RED, BLUE]]
    (message,) = engine.rendered[0].messages
    assert (message.content, [image.at for image in message.images]) == ("What is  this?", [8, 14])
    assert model_pb2.MODEL_CAPABILITY_IMAGES in answer.model.capabilities


async def test_a_model_that_takes_none_refuses(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine()
    async with replica(engine) as process:
        with pytest.raises(grpc.aio.AioRpcError) as chatted:
            await read(process.stub.Chat(chat(), metadata=metadata))
        counting = tokens_pb2.CountTokensRequest(chat=tokens_pb2.ChatInput(messages=[QUESTION]))
        with pytest.raises(grpc.aio.AioRpcError) as counted:
            await process.stub.CountTokens(counting, metadata=metadata)
    lacks = ("MODEL_LACKS", {"model": "scripted", "field": "messages.content.image"})
    assert refusal(chatted.value) == refusal(counted.value) == lacks
    assert engine.rendered == []


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (shown("Look:", b"none"), "IMAGE_UNREADABLE"),
        (shown(moving("GIF"), media_type="image/gif"), "IMAGE_FORMAT_REFUSED"),
        (shown(picture(), media_type="image/webp"), "IMAGE_FORMAT_REFUSED"),
        (shown(picture(), media_type="image/svg+xml"), "IMAGE_FORMAT_REFUSED"),
        (shown(picture(size=(300, 300))), "IMAGE_TOO_LARGE"),
        (shown(*4 * [picture()]), "TOO_MANY_IMAGES"),
        (shown(picture(), media_type="text/html"), "INVALID_REQUEST"),
        (shown(b""), "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_shown_is_refused_before_a_run_begins(
    replica: Replica, metadata: Any, message: message_pb2.Message, expected: str
) -> None:
    engine = SightedEngine(limits=ImageLimits(count=3, pixels=64 * 64))
    async with replica(engine) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(message), metadata=metadata))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(refused.value)[0] == expected
    assert engine.rendered == []


@pytest.mark.parametrize("role", [message_pb2.ROLE_SYSTEM, message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL])
async def test_only_users_show_images(replica: Replica, metadata: Any, role: message_pb2.Role) -> None:
    message = shown(picture())
    message.role = role
    message.tool_call_id = "call-1" if role == message_pb2.ROLE_TOOL else ""
    async with replica(SightedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(message, QUESTION), metadata=metadata))
    assert refusal(refused.value)[0] == "INVALID_REQUEST"
    assert "images belong to ROLE_USER alone" in str(refused.value.details())


async def test_a_conversation_on_one_stream_remembers_what_it_was_shown(
    replica: Replica, metadata: Any
) -> None:
    engine = SightedEngine(says("Red."), says("Both."))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.send(user_turn={"content": shown("This?", picture(RED)).content})
        assert await talk.finish() == "STOP"
        await talk.send(user_turn={"content": shown(b"none").content})
        assert (await talk.refused())[1] == "IMAGE_UNREADABLE"
        await talk.send(user_turn={"content": shown("And that?", picture(BLUE)).content})
        assert await talk.finish() == "STOP"
        await talk.hang_up()
    assert engine.colours == [[RED], [RED, BLUE]]


async def test_a_stored_conversation_keeps_its_images(
    replica: Replica, metadata: Any, tmp_path: Path
) -> None:
    url = parse_url(sqlite_url(tmp_path / "conversations.db"))
    await migrate(url)
    database = Database(url)
    engine = SightedEngine(says("Two."), says("Red and blue."))
    async with replica(engine, library=ConversationLibrary(database)) as process:
        made = await process.conversations.CreateConversation(
            pb2.CreateConversationRequest(), metadata=metadata
        )
        which = {"conversation_id": made.conversation.conversation_id, "continue_conversation": True}
        await read(process.stub.Chat(chat(**which), metadata=metadata))
        await read(process.stub.Chat(chat(shown("Which?"), **which), metadata=metadata))
        request = pb2.ListMessagesRequest(conversation_id=made.conversation.conversation_id)
        stored = await process.conversations.ListMessages(request, metadata=metadata)
        pages = [
            each.data.decode()
            async for each in process.conversations.ExportConversations(
                pb2.ExportConversationsRequest(format=pb2.EXPORT_FORMAT_MARKDOWN), metadata=metadata
            )
        ]
    await database.close()
    assert engine.colours == [[RED, BLUE], [RED, BLUE]]
    assert stored.messages[0].message == QUESTION
    assert "What is [image/png] this?[image/png]" in "".join(pages)
