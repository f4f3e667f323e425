"""Stored conversations as the page shows them: messages read from the platform, folded into turns."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable

import grpc

from parley.inference.v1 import chat_pb2, conversation_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from parley_client.caller import pages
from parley_client.conversations import Conversations
from parley_client.errors import ParleyError
from web.answer import Answer, Call, Instructions, Pace, Reasoning, Saying
from web.card import CallState
from web.conversation import MAX_TURNS, Conversation, Turn
from web.pictures.picture import pictures_of

PAGE_MESSAGES = 1000
"""Messages asked for at once; a conversation holds 4,096 at most."""

NOT_THERE = "Nothing of this answer was stored, so that nothing can branch from it."


async def read(conversations: Conversations, conversation_id: str) -> Conversation:
    """A conversation of the person's, with its newest turns.

    Raises:
        ParleyError: There is none of this id, or the platform does not say.
    """
    found = await conversations.get(conversation_id)
    turns = turns_of(await _messages(conversations, conversation_id))
    return Conversation(
        conversation_id,
        turns[-MAX_TURNS:],
        stored=True,
        at_platform=True,
        name=found.title,
        earlier=len(turns[:-MAX_TURNS]),
    )


async def last_message(conversations: Conversations, conversation_id: str, turn: Turn) -> str:
    """The id of the last message that a turn left in its conversation.

    Raises:
        ParleyError: It left none, or the platform does not say.
    """
    if turn.message_id:
        return turn.message_id
    run_id = turn.answer.run_id
    messages = await _messages(conversations, conversation_id) if run_id else []
    ids = [stored.message_id for stored in messages if stored.run_id == run_id]
    if not ids:
        raise ParleyError(grpc.StatusCode.NOT_FOUND, NOT_THERE)
    return ids[-1]


async def _messages(
    conversations: Conversations, conversation_id: str
) -> list[conversation_pb2.StoredMessage]:
    def page(token: str) -> Awaitable[pb2.ListMessagesResponse]:
        return conversations.messages(
            pb2.ListMessagesRequest(
                conversation_id=conversation_id, page_size=PAGE_MESSAGES, page_token=token
            )
        )

    return [stored async for answer in pages(page) for stored in answer.messages]


def turns_of(messages: Iterable[conversation_pb2.StoredMessage]) -> list[Turn]:
    """Messages, oldest first, as questions and their answers."""
    turns: list[Turn] = []
    for stored in messages:
        if stored.message.role == message_pb2.ROLE_USER or not turns:
            turns.append(Turn("", Answer(Pace(asked_at=0.0), finish=chat_pb2.FINISH_REASON_STOP)))
        _add(turns[-1], stored)
    return turns


def _add(turn: Turn, stored: conversation_pb2.StoredMessage) -> None:
    """Take a message over into its turn."""
    message, answer = stored.message, turn.answer
    text = "".join(part.text for part in message.content)
    turn.message_id = stored.message_id
    answer.run_id, answer.model = stored.run_id or answer.run_id, stored.model or answer.model
    match message.role:
        case message_pb2.ROLE_USER:
            turn.question, turn.pictures = text, tuple(pictures_of(message))
        case message_pb2.ROLE_ASSISTANT:
            _say(answer, message, text)
        case message_pb2.ROLE_TOOL:
            _return(answer, message.tool_call_id, text)
        case _:
            answer.parts.append(Instructions(text))


def _say(answer: Answer, message: message_pb2.Message, text: str) -> None:
    """A turn of the model: its reasoning, what it said, and what it called."""
    if message.reasoning:
        answer.parts.append(Reasoning(message.reasoning, started_at=None))
    if text:
        answer.parts.append(Saying(text))
    answer.parts.extend(
        Call(call.id, call.name, call.arguments, state=CallState.STOPPED) for call in message.tool_calls
    )


def _return(answer: Answer, call_id: str, content: str) -> None:
    """What a call was answered with."""
    calls = (part for part in reversed(answer.parts) if isinstance(part, Call) and part.id == call_id)
    call = next(calls, None)
    if call is not None:
        call.result, call.error = content, _error(content)
        call.state = CallState.DONE if call.error is None else CallState.FAILED


def _error(content: str) -> ParleyError | None:
    """The error that the model was told in place of a result, as the platform writes it; else None."""
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return None
    match told:
        case {"error": {"reason": str(reason), "message": str(message)}} if len(told) == 1:
            return ParleyError(grpc.StatusCode.UNKNOWN, message, reason=reason)
    return None
