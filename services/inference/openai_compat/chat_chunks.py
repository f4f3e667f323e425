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

# What a run tells of the platform's tools; clients that know OpenAI alone pass over it.
_TOLD = frozenset({"tool_call", "tool_progress", "tool_result", "approval_needed", "approval_decided"})


class ChatChunks:
    """Makes one answer's chunks."""

    def __init__(self, asked: ChatAsked) -> None:
        """Answer what was asked."""
        self._asked = asked
        self._calls = ClientCalls(asked.client_tools)
        self._usage = chat_pb2.Usage()
        self._run_id = ""
        self._head: dict[str, Any] = {}

    def of(self, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """The chunks that stand for an event."""
        match kind := happened.WhichOneof("event"):
            case "content_delta":
                yield self._delta({"content": happened.content_delta.text})
            case "reasoning_delta" if self._asked.include_reasoning:
                yield self._delta({"reasoning": happened.reasoning_delta.text})
            case "tool_call_delta":
                part = self._calls.delta(happened.tool_call_delta)
                if part is not None:
                    yield self._delta({"tool_calls": [part]})
            case "started":
                yield self._begin(happened.started)
            case "usage":
                self._usage = happened.usage
            case "finished":
                yield from self._end(happened.finished)
            case _ if kind in _TOLD and not happened.tool_call.client_side:
                told = json_format.MessageToDict(happened, preserving_proto_field_name=True)
                yield self._delta({}, parley={kind: told[kind]})

    def _begin(self, started: chat_pb2.ChatStarted) -> bytes:
        self._run_id = started.run_id
        self._head = {
            "id": f"chatcmpl-{started.run_id}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": started.model,
        }
        return self._delta({"role": "assistant", "content": ""})

    def _end(self, finished: chat_pb2.ChatFinished) -> Iterator[bytes]:
        failure = cut_short(finished)
        if failure is not None:
            yield event(error_object(failure))
            return
        yield self._delta({}, finish_reason(finished), parley=ending(self._run_id, finished))
        if self._asked.include_usage:
            yield event({**self._head, "choices": [], "usage": usage(self._usage)})
        yield DONE

    def _delta(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**self._head, "choices": [choice], **more})
