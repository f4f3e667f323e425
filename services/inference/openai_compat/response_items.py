"""The items of which an output of OpenAI's Responses is made, and the events by which they grow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from parley.inference.v1 import chat_pb2, message_pb2
from services.inference.openai_compat.logprobs import of_chat

Event = tuple[str, dict[str, Any]]
COMPLETED = "completed"


class TextItem:
    """A message of the model, or its reasoning, while it is said."""

    def __init__(self, item_id: str, place: int, *, reasoning: bool) -> None:
        """Begin the item at this place of the output."""
        self.reasoning = reasoning
        self._name = "reasoning_text" if reasoning else "output_text"
        self._place = {"item_id": item_id, "output_index": place, "content_index": 0}
        self._part: dict[str, Any] = {"type": self._name, "text": ""}
        if not reasoning:
            self._part |= {"annotations": [], "logprobs": []}
        kind = {"type": "reasoning", "summary": []} if reasoning else {"type": "message", "role": "assistant"}
        self.item: dict[str, Any] = {"id": item_id, **kind, "content": [], "status": "in_progress"}
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def begin(self) -> Iterator[Event]:
        """Tell that it begins."""
        yield (
            "response.output_item.added",
            {
                "output_index": self._place["output_index"],
                "item": dict(self.item),
            },
        )
        yield "response.content_part.added", {**self._place, "part": dict(self._part)}

    def add(self, delta: chat_pb2.ContentDelta | chat_pb2.ReasoningDelta) -> Iterator[Event]:
        """Say more."""
        self._texts.append(delta.text)
        more: dict[str, Any] = {}
        if not self.reasoning:
            more["logprobs"] = of_chat(delta.logprobs)["content"]
            self._logprobs.extend(more["logprobs"])
        yield f"response.{self._name}.delta", {**self._place, "delta": delta.text, **more}

    def end(self, status: str) -> Iterator[Event]:
        """Tell that it is whole, or as far as it came."""
        text = "".join(self._texts)
        logprobs = {} if self.reasoning else {"logprobs": self._logprobs}
        part = {**self._part, "text": text, **logprobs}
        self.item |= {"content": [part], "status": status}
        yield f"response.{self._name}.done", {**self._place, "text": text, **logprobs}
        yield "response.content_part.done", {**self._place, "part": part}
        yield (
            "response.output_item.done",
            {
                "output_index": self._place["output_index"],
                "item": self.item,
            },
        )


class CallItem:
    """A call of a tool of the client, while it is written."""

    reasoning = False

    def __init__(self, delta: chat_pb2.ToolCallDelta, place: int) -> None:
        """Begin the item at this place of the output."""
        self.call_id = delta.id
        self._index = place
        self._place = {"item_id": f"fc_{delta.id}", "output_index": place}
        self.item: dict[str, Any] = {
            "id": f"fc_{delta.id}",
            "type": "function_call",
            "call_id": delta.id,
            "name": delta.name,
            "arguments": "",
            "status": "in_progress",
        }

    def begin(self) -> Iterator[Event]:
        """Tell that it begins."""
        yield "response.output_item.added", {"output_index": self._index, "item": dict(self.item)}

    def add(self, delta: chat_pb2.ToolCallDelta) -> Iterator[Event]:
        """Write more."""
        if delta.arguments:
            self.item["arguments"] += delta.arguments
            yield "response.function_call_arguments.delta", {**self._place, "delta": delta.arguments}

    def whole(self, call: message_pb2.ToolCall) -> None:
        """The call as it is in the end."""
        self.item["arguments"] = call.arguments

    def end(self, status: str) -> Iterator[Event]:
        """Tell that it is whole, or as far as it came."""
        self.item["status"] = status
        told = {"name": self.item["name"], "arguments": self.item["arguments"]}
        yield "response.function_call_arguments.done", {**self._place, **told}
        yield "response.output_item.done", {"output_index": self._index, "item": self.item}
