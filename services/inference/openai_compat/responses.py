"""A run's events as those of OpenAI's Responses, and the response that they build."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat.bodies import event
from services.inference.openai_compat.endings import ending
from services.inference.openai_compat.failures import RunFailed, cut_short, error_object
from services.inference.openai_compat.response_items import COMPLETED, CallItem, Event, TextItem
from services.inference.openai_compat.response_requests import ResponseAsked

_WHOLE = frozenset({chat_pb2.FINISH_REASON_STOP, chat_pb2.FINISH_REASON_TOOL_CALLS})


class ResponseEvents:
    """Makes one response, and tells how it grows."""

    def __init__(self, asked: ResponseAsked) -> None:
        """Answer what was asked."""
        self._asked = asked
        self._created = int(time.time())
        self._started = chat_pb2.ChatStarted()
        self._finished = chat_pb2.ChatFinished()
        self._usage = chat_pb2.Usage()
        self._items: list[TextItem | CallItem] = []
        self._open: TextItem | CallItem | None = None
        self._calls: dict[int, CallItem | None] = {}
        self._sequence = 0

    def of(self, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """The events that stand for one of the run."""
        for name, told in self._events(happened):
            yield event({"type": name, "sequence_number": self._sequence, **told}, name)
            self._sequence += 1

    def _events(self, happened: chat_pb2.ChatEvent) -> Iterator[Event]:
        match happened.WhichOneof("event"):
            case "content_delta":
                yield from self._say(happened.content_delta, reasoning=False)
            case "reasoning_delta" if self._asked.include_reasoning:
                yield from self._say(happened.reasoning_delta, reasoning=True)
            case "tool_call_delta":
                yield from self._call(happened.tool_call_delta)
            case "tool_call" if happened.tool_call.client_side:
                self._settle(happened.tool_call)
            case "started":
                self._started = happened.started
                yield "response.created", {"response": self.response("in_progress")}
                yield "response.in_progress", {"response": self.response("in_progress")}
            case "usage":
                self._usage = happened.usage
            case "finished":
                self._finished = happened.finished
                yield from self._end()

    def _say(
        self, delta: chat_pb2.ContentDelta | chat_pb2.ReasoningDelta, *, reasoning: bool
    ) -> Iterator[Event]:
        if not isinstance(self._open, TextItem) or self._open.reasoning is not reasoning:
            prefix = "rs" if reasoning else "msg"
            place = len(self._items)
            name = f"{prefix}_{self._started.run_id}_{place}"
            yield from self._begin(TextItem(name, place, reasoning=reasoning))
        if isinstance(self._open, TextItem):
            yield from self._open.add(delta)

    def _call(self, delta: chat_pb2.ToolCallDelta) -> Iterator[Event]:
        """A part of a call; those of the platform's tools are no part of the output."""
        if delta.id:
            mine = delta.name in self._asked.client_tools
            item = CallItem(delta, len(self._items)) if mine else None
            self._calls[delta.index] = item
            yield from self._begin(item) if item is not None else self._close(COMPLETED)
        call = self._calls.get(delta.index)
        if call is not None:
            yield from call.add(delta)

    def _settle(self, ready: chat_pb2.ToolCallReady) -> None:
        for call in self._calls.values():
            if call is not None and call.call_id == ready.call.id:
                call.whole(ready.call)

    def _begin(self, item: TextItem | CallItem) -> Iterator[Event]:
        yield from self._close(COMPLETED)
        self._items.append(item)
        self._open = item
        yield from item.begin()

    def _close(self, status: str) -> Iterator[Event]:
        if self._open is not None:
            yield from self._open.end(status)
        self._open = None

    def _end(self) -> Iterator[Event]:
        status = self._status()
        yield from self._close(COMPLETED if status == COMPLETED else "incomplete")
        yield f"response.{status}", {"response": self.response(status)}

    def _status(self) -> str:
        if cut_short(self._finished) is not None:
            return "failed"
        return COMPLETED if self._finished.reason in _WHOLE else "incomplete"

    def response(self, status: str) -> dict[str, Any]:
        """The response as it is now."""
        response = {
            "id": f"resp_{self._started.run_id}",
            "object": "response",
            "created_at": self._created,
            "model": self._started.model,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "output": [item.item for item in self._items],
            "usage": self._used() if self._finished.reason else None,
            "metadata": {},
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            **self._asked.repeated,
        }
        failure = cut_short(self._finished)
        if failure is not None:
            error = error_object(failure)["error"]
            response["error"] = {"code": error["code"], "message": error["message"]}
        if self._finished.reason:
            response["parley"] = ending(self._started, self._finished)
        return response

    def _used(self) -> dict[str, Any]:
        used = self._usage
        return {
            "input_tokens": used.prompt_tokens,
            "input_tokens_details": {"cached_tokens": used.cached_prompt_tokens, "cache_write_tokens": 0},
            "output_tokens": used.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
            "total_tokens": used.prompt_tokens + used.completion_tokens,
        }

    async def gather(self, responses: AsyncIterator[chat_pb2.ChatResponse]) -> dict[str, Any]:
        """The response in one piece.

        Raises:
            RunFailed: The run came to no answer.
        """
        async for response in responses:
            for _ in self._events(response.event):
                pass
        failure = cut_short(self._finished)
        if failure is not None:
            raise RunFailed(failure)
        return self.response(self._status())
