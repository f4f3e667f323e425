"""A run's events as the chunks of a streamed chat completion."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat.bodies import DONE, event
from services.inference.openai_compat.calls import ClientCalls
from services.inference.openai_compat.chat_requests import ChatAsked
from services.inference.openai_compat.endings import ending, finish_reason, usage
from services.inference.openai_compat.failures import cut_short, error_object
from services.inference.openai_compat.logprobs import of_chat

# What a run tells of the platform's tools; clients that know OpenAI alone pass over it.
_TOLD = frozenset({"tool_call", "tool_progress", "tool_result", "approval_needed", "approval_decided"})


class ChatChunks:
    """Makes one answer's chunks."""

    def __init__(self, asked: ChatAsked) -> None:
        """Answer what was asked."""
        self._asked = asked
        self._calls = ClientCalls(asked.client_tools)
        self._usage = chat_pb2.Usage()
        self._started = chat_pb2.ChatStarted()
        self._head: dict[str, Any] = {}

    def of(self, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """The chunks that stand for an event."""
        match kind := happened.WhichOneof("event"):
            case "content_delta":
                yield self._content(happened.content_delta)
            case "reasoning_delta" if self._asked.include_reasoning:
                delta = happened.reasoning_delta
                yield self._chunk({"reasoning": delta.text}, delta.choice)
            case "tool_call_delta":
                part = self._calls.delta(happened.tool_call_delta)
                if part is not None:
                    yield self._chunk({"tool_calls": [part]})
            case "started":
                yield from self._begin(happened.started)
            case "usage":
                self._usage = happened.usage
            case "finished":
                yield from self._end(happened.finished)
            case _ if kind in _TOLD and not happened.tool_call.client_side:
                told = json_format.MessageToDict(happened, preserving_proto_field_name=True)
                yield self._chunk({}, parley={kind: told[kind]})

    def _begin(self, started: chat_pb2.ChatStarted) -> Iterator[bytes]:
        self._started = started
        self._head = {
            "id": f"chatcmpl-{started.run_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": started.model,
        }
        for index in range(self._asked.choice_count):
            yield self._chunk({"role": "assistant", "content": ""}, index)

    def _content(self, delta: chat_pb2.ContentDelta) -> bytes:
        logprobs = of_chat(delta.logprobs) if delta.logprobs else None
        return self._chunk({"content": delta.text}, delta.choice, logprobs=logprobs)

    def _end(self, finished: chat_pb2.ChatFinished) -> Iterator[bytes]:
        failure = cut_short(finished)
        if failure is not None:
            yield event(error_object(failure))
            return
        for index in range(self._asked.choice_count):
            reason = finish_reason(finished, index)
            yield self._chunk({}, index, reason=reason, parley=ending(self._started, finished))
        if self._asked.include_usage:
            yield event({**self._head, "choices": [], "usage": usage(self._usage)})
        yield DONE

    def _chunk(
        self,
        delta: dict[str, Any],
        index: int = 0,
        *,
        reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return event({**self._head, "choices": [choice], **more})
