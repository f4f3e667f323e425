"""Messages between the contract and the domain, both ways: pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from parley.inference.v1 import converse_pb2, message_pb2
from services.inference import engine
from services.inference.images import Image, parts

ROLES = {
    message_pb2.ROLE_SYSTEM: engine.Role.SYSTEM,
    message_pb2.ROLE_USER: engine.Role.USER,
    message_pb2.ROLE_ASSISTANT: engine.Role.ASSISTANT,
    message_pb2.ROLE_TOOL: engine.Role.TOOL,
}


def message(given: message_pb2.Message) -> engine.Message:
    """A message of the conversation."""
    return engine.Message(
        role=ROLES[given.role],
        content=text(given.content),
        reasoning=given.reasoning,
        tool_calls=tuple(engine.ToolCall(call.id, call.name, call.arguments) for call in given.tool_calls),
        tool_call_id=given.tool_call_id,
        images=images(given.content),
    )


def stored(given: engine.Message) -> message_pb2.Message:
    """A message of the conversation, to be kept."""
    return message_pb2.Message(
        role=message_pb2.Role.Value(f"ROLE_{given.role.name}"),
        content=map(_part, parts(given.content, given.images)),
        reasoning=given.reasoning,
        tool_calls=map(tool_call, given.tool_calls),
        tool_call_id=given.tool_call_id,
    )


def user_turn(given: converse_pb2.UserTurn) -> engine.Message:
    """What the user says in a conversation."""
    return engine.Message(engine.Role.USER, text(given.content), images=images(given.content))


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


def tool_call(given: engine.ToolCall) -> message_pb2.ToolCall:
    """A call that the model made."""
    return message_pb2.ToolCall(id=given.id, name=given.name, arguments=given.arguments)


def _part(given: str | Image) -> message_pb2.ContentPart:
    if isinstance(given, str):
        return message_pb2.ContentPart(text=given)
    return message_pb2.ContentPart(image=message_pb2.Image(data=given.data, media_type=given.media_type))
