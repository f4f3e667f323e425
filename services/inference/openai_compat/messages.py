"""OpenAI's messages as those of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from parley.inference.v1 import message_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.openai_compat.checking import reading

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
    """
    if given is None:
        return
    for position, part in enumerate([given] if isinstance(given, str) else given):
        yield message_pb2.ContentPart(text=_text(part, f"{path}[{position}]"))


def _text(part: Any, path: str) -> str:
    """The text of a part; `input_text` and `output_text` are what the newer API calls it."""
    if isinstance(part, str):
        return part
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return str(part["text"])
        case "refusal":
            return str(part["refusal"])
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
