"""The input of OpenAI's Responses as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from parley.inference.v1 import message_pb2
from services.inference.errors import ParameterUnsupported
from services.inference.openai_compat.checking import reading
from services.inference.openai_compat.messages import content, role

Item = Mapping[str, Any]


def messages(instructions: str | None, given: Any) -> list[message_pb2.Message]:
    """The conversation that instructions and input make.

    Raises:
        ParameterInvalid: An item is not what its type needs.
        ParameterUnsupported: An item is of a type that is not served.
    """
    conversation = _Conversation()
    if instructions:
        conversation.say(message_pb2.ROLE_SYSTEM, [message_pb2.ContentPart(text=instructions)])
    if isinstance(given, str):
        conversation.say(message_pb2.ROLE_USER, [message_pb2.ContentPart(text=given)])
        return conversation.messages
    for position, item in enumerate(given):
        path = f"input[{position}]"
        with reading(path):
            conversation.add(item if isinstance(item, dict) else item.model_dump(), path)
    return conversation.messages


class _Conversation:
    """Puts together what the API tells in items: a turn of the model is one message here."""

    def __init__(self) -> None:
        self.messages: list[message_pb2.Message] = []

    def say(self, who: message_pb2.Role.ValueType, parts: Iterable[message_pb2.ContentPart]) -> None:
        """Add a message."""
        self.messages.append(message_pb2.Message(role=who, content=list(parts)))

    def add(self, item: Item, path: str) -> None:
        """Add an item."""
        match item.get("type") or "message":
            case "message":
                self._message(item, path)
            case "reasoning":
                texts = [part["text"] for part in item.get("content") or ()]
                self._turn(begins=True).reasoning = "".join(texts)
            case "function_call":
                self._turn().tool_calls.add(
                    id=item["call_id"], name=item["name"], arguments=item["arguments"]
                )
            case "function_call_output":
                self.say(message_pb2.ROLE_TOOL, content(item["output"], f"{path}.output"))
                self.messages[-1].tool_call_id = item["call_id"]
            case _:
                raise ParameterUnsupported(f"{path}.type")

    def _message(self, item: Item, path: str) -> None:
        who = role(item["role"], path)
        parts = content(item.get("content"), f"{path}.content")
        if who == message_pb2.ROLE_ASSISTANT:
            self._turn(begins=True).content.extend(parts)
        else:
            self.say(who, parts)

    def _turn(self, *, begins: bool = False) -> message_pb2.Message:
        """The turn of the model that is being told; a new one where what begins a turn was told already."""
        last = self.messages[-1] if self.messages else None
        told = last is not None and (len(last.content) > 0 or len(last.tool_calls) > 0)
        if last is None or last.role != message_pb2.ROLE_ASSISTANT or (begins and told):
            self.say(message_pb2.ROLE_ASSISTANT, ())
        return self.messages[-1]
