"""OpenAI's messages as those of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from parley.inference.v1 import message_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.checking import reading
from services.inference.openai_compat.images import image

ROLES = {
    "system": message_pb2.ROLE_SYSTEM,
    "developer": message_pb2.ROLE_SYSTEM,
    "user": message_pb2.ROLE_USER,
    "assistant": message_pb2.ROLE_ASSISTANT,
    "tool": message_pb2.ROLE_TOOL,
}


def messages(given: Iterable[Mapping[str, Any]]) -> Iterator[message_pb2.Message]:
    """The conversation.

    Raises:
        ParameterInvalid: A message is not what its role needs.
        ParameterUnsupported: A message has what is not served.
    """
    for position, message in enumerate(given):
        path = f"messages[{position}]"
        with reading(path):
            read = _message(message, path)
        yield read


def role(name: str, path: str) -> message_pb2.Role.ValueType:
    """Who says a message.

    Raises:
        ParameterInvalid: Nobody has such a role.
    """
    found = ROLES.get(name)
    if found is None:
        raise ParameterInvalid(f"{path}.role", f"it is none of {', '.join(ROLES)}")
    return found


def _message(given: Mapping[str, Any], path: str) -> message_pb2.Message:
    return message_pb2.Message(
        role=role(given["role"], path),
        content=list(content(given.get("content"), f"{path}.content")),
        reasoning=given.get("reasoning") or "",
        tool_calls=list(_tool_calls(given.get("tool_calls"), f"{path}.tool_calls")),
        tool_call_id=given.get("tool_call_id") or "",
    )


def content(given: Any, path: str) -> Iterator[message_pb2.ContentPart]:
    """What a message says: a text, or parts.

    Raises:
        ParameterUnsupported: A part is of a type that is not served.
        ParameterInvalid, ImageNotInline: A part is no image that could be shown.
    """
    if given is None:
        return
    for position, part in enumerate([given] if isinstance(given, str) else given):
        yield _part(part, f"{path}[{position}]")


def _part(part: Any, path: str) -> message_pb2.ContentPart:
    """A part; `input_…` and `output_…` are what the newer API calls them."""
    if isinstance(part, str):
        return message_pb2.ContentPart(text=part)
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return message_pb2.ContentPart(text=str(part["text"]))
        case "refusal":
            return message_pb2.ContentPart(text=str(part["refusal"]))
        case "image_url":
            given = part["image_url"]
            shown = image(given["url"], given.get("detail"), f"{path}.image_url")
            return message_pb2.ContentPart(image=shown)
        case "input_image":
            shown = image(part.get("image_url"), part.get("detail"), f"{path}.image_url")
            return message_pb2.ContentPart(image=shown)
        case _:
            raise ParameterUnsupported(f"{path}.type")


def _tool_calls(given: Iterable[Mapping[str, Any]] | None, path: str) -> Iterator[message_pb2.ToolCall]:
    for position, call in enumerate(given or ()):
        if call.get("type", "function") != "function":
            raise ParameterUnsupported(f"{path}[{position}].type")
        function = call["function"]
        yield message_pb2.ToolCall(
            id=call["id"], name=function["name"], arguments=function.get("arguments") or ""
        )
