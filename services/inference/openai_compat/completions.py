"""A run's events as a completion: its chunks, or one object."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat.bodies import DONE, event
from services.inference.openai_compat.completion_requests import CompletionAsked
from services.inference.openai_compat.endings import ending, finish_reason, usage
from services.inference.openai_compat.failures import cut_short, error_object
from services.inference.openai_compat.gathering import Gathered, Responses, gather
from services.inference.openai_compat.logprobs import TextLogprobs


async def completion(asked: CompletionAsked, responses: Responses) -> dict[str, Any]:
    """The answer to a completion that is no stream.

    Raises:
        RunFailed: The run came to no answer.
    """
    said = await gather(responses)
    return {
        **_head(said.started, said.created),
        "choices": [_whole_choice(asked, said, index) for index in range(asked.choice_count)],
        "usage": usage(said.usage),
        "parley": ending(said.started, said.finished),
    }


def _whole_choice(asked: CompletionAsked, said: Gathered, index: int) -> dict[str, Any]:
    choice = said.choices[index]
    logprobs = TextLogprobs().of(choice.logprobs) if asked.has_logprobs else None
    return _choice(index, "".join(choice.content), logprobs, finish_reason(said.finished, index))


class CompletionChunks:
    """Makes one completion's chunks."""

    def __init__(self, asked: CompletionAsked) -> None:
        """Answer what was asked."""
        self._asked = asked
        self._logprobs: defaultdict[int, TextLogprobs] = defaultdict(TextLogprobs)
        self._usage = chat_pb2.Usage()
        self._started = chat_pb2.ChatStarted()
        self._head: dict[str, Any] = {}

    def of(self, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """The chunks that stand for an event."""
        match happened.WhichOneof("event"):
            case "content_delta":
                yield self._content(happened.content_delta)
            case "started":
                self._started = happened.started
                self._head = _head(self._started, int(time.time()))
            case "usage":
                self._usage = happened.usage
            case "finished":
                yield from self._end(happened.finished)

    def _content(self, delta: chat_pb2.ContentDelta) -> bytes:
        logprobs = self._logprobs[delta.choice].of(delta.logprobs) if delta.logprobs else None
        return event({**self._head, "choices": [_choice(delta.choice, delta.text, logprobs)]})

    def _end(self, finished: chat_pb2.ChatFinished) -> Iterator[bytes]:
        failure = cut_short(finished)
        if failure is not None:
            yield event(error_object(failure))
            return
        for index in range(self._asked.choice_count):
            last = _choice(index, "", None, finish_reason(finished, index))
            yield event({**self._head, "choices": [last], "parley": ending(self._started, finished)})
        if self._asked.include_usage:
            yield event({**self._head, "choices": [], "usage": usage(self._usage)})
        yield DONE


def _head(started: chat_pb2.ChatStarted, created: int) -> dict[str, Any]:
    return {
        "id": f"cmpl-{started.run_id}",
        "object": "text_completion",
        "created": created,
        "model": started.model,
    }


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
