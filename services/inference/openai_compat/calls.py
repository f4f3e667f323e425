"""Tells the client's own tool calls from those of the platform's tools."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from parley.inference.v1 import chat_pb2, message_pb2


class ClientCalls:
    """The calls that the client answers, numbered as it counts them: over all turns, and no others."""

    def __init__(self, tools: Container[str]) -> None:
        """Tell calls of these tools from others."""
        self._tools = tools
        self._places: dict[int, int | None] = {}
        self._count = 0

    def delta(self, delta: chat_pb2.ToolCallDelta) -> dict[str, Any] | None:
        """A part of a call as OpenAI's clients append it; None where it is the platform's."""
        if delta.id:
            self._begin(delta)
        place = self._places.get(delta.index)
        if place is None:
            return None
        function = {"arguments": delta.arguments}
        if not delta.id:
            return {"index": place, "function": function}
        named = {"name": delta.name, **function}
        return {"index": place, "id": delta.id, "type": "function", "function": named}

    def _begin(self, delta: chat_pb2.ToolCallDelta) -> None:
        """Turns count their calls anew, so that a call takes over the place of one before."""
        mine = delta.name in self._tools
        self._places[delta.index] = self._count if mine else None
        self._count += mine


def whole_call(call: message_pb2.ToolCall) -> dict[str, Any]:
    """A complete call."""
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
