"""Messages between the contract and the domain, both ways: pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from parley.inference.v1 import converse_pb2, message_pb2
from services.inference.engine import turn
from services.inference.images.image import Image, parts

ROLES = {
    message_pb2.ROLE_SYSTEM: turn.Role.SYSTEM,
    message_pb2.ROLE_USER: turn.Role.USER,
    message_pb2.ROLE_ASSISTANT: turn.Role.ASSISTANT,
    message_pb2.ROLE_TOOL: turn.Role.TOOL,
}


def message(given: message_pb2.Message) -> turn.Message:
    """A message of the conversation."""
    return turn.Message(
        role=ROLES[given.role],
        content=text(given.content),
        reasoning=given.reasoning,
        tool_calls=tuple(turn.ToolCall(call.id, call.name, call.arguments) for call in given.tool_calls),
        tool_call_id=given.tool_call_id,
        images=images(given.content),
    )


def stored(given: turn.Message) -> message_pb2.Message:
    """A message of the conversation, to be kept."""
    return message_pb2.Message(
        role=message_pb2.Role.Value(f"ROLE_{given.role.name}"),
        content=map(_part, parts(given.content, given.images)),
        reasoning=given.reasoning,
        tool_calls=map(tool_call, given.tool_calls),
        tool_call_id=given.tool_call_id,
    )


def user_turn(given: converse_pb2.UserTurn) -> turn.Message:
    """What the user says in a conversation."""
    return turn.Message(turn.Role.USER, text(given.content), images=images(given.content))


def text(given: Iterable[message_pb2.ContentPart]) -> str:
    """The text of a message's parts."""
    return "".join(part.text for part in given)


def images(given: Iterable[message_pb2.ContentPart]) -> tuple[Image, ...]:
    """The images of a message's parts, and where in its text they stand."""
    found: list[Image] = []
    before = 0
    for part in given:
        if part.HasField("image"):
            found.append(Image.of(part.image.data, part.image.media_type, before))
        before += len(part.text)
    return tuple(found)


def tool_call(given: turn.ToolCall) -> message_pb2.ToolCall:
    """A call that the model made."""
    return message_pb2.ToolCall(id=given.id, name=given.name, arguments=given.arguments)


def _part(given: str | Image) -> message_pb2.ContentPart:
    if isinstance(given, str):
        return message_pb2.ContentPart(text=given)
    return message_pb2.ContentPart(image=message_pb2.Image(data=given.data, media_type=given.media_type))
