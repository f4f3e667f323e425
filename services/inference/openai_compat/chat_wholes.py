"""A run's events as one chat completion."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from google.rpc import status_pb2

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat.calls import whole_call
from services.inference.openai_compat.chat_requests import ChatAsked
from services.inference.openai_compat.endings import ending, finish_reason, usage
from services.inference.openai_compat.failures import cut_short


class ChatWhole:
    """Gathers one answer."""

    def __init__(self, asked: ChatAsked) -> None:
        """Answer what was asked."""
        self._asked = asked
        self._created = int(time.time())
        self._started = chat_pb2.ChatStarted()
        self._finished = chat_pb2.ChatFinished()
        self._usage = chat_pb2.Usage()
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[dict[str, Any]] = []

    async def gather(self, responses: AsyncIterator[chat_pb2.ChatResponse]) -> status_pb2.Status | None:
        """Take the events in, up to the last.

        Returns:
            Why there is no answer; None where there is one.
        """
        async for response in responses:
            self._take(response.event)
        return cut_short(self._finished)

    def _take(self, happened: chat_pb2.ChatEvent) -> None:
        match happened.WhichOneof("event"):
            case "content_delta":
                self._content.append(happened.content_delta.text)
            case "reasoning_delta":
                self._reasoning.append(happened.reasoning_delta.text)
            case "tool_call" if happened.tool_call.client_side:
                self._calls.append(whole_call(happened.tool_call.call))
            case "usage":
                self._usage = happened.usage
            case "started":
                self._started = happened.started
            case "finished":
                self._finished = happened.finished

    def answer(self) -> dict[str, Any]:
        """The answer."""
        run_id = self._started.run_id
        choice = {
            "index": 0,
            "message": self._message(),
            "logprobs": None,
            "finish_reason": finish_reason(self._finished),
        }
        return {
            "id": f"chatcmpl-{run_id}",
            "object": "chat.completion",
            "created": self._created,
            "model": self._started.model,
            "choices": [choice],
            "usage": usage(self._usage),
            "parley": ending(run_id, self._finished),
        }

    def _message(self) -> dict[str, Any]:
        content = "".join(self._content)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if self._calls and not content else content,
            "refusal": None,
        }
        if self._calls:
            message["tool_calls"] = self._calls
        if self._reasoning and self._asked.include_reasoning:
            message["reasoning"] = "".join(self._reasoning)
        return message
