"""The events of runs, one for each prompt, as a completion: its chunks, or one object."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from parley.inference.v1 import chat_pb2
from services.inference.openai_compat.bodies import DONE, event
from services.inference.openai_compat.completion_requests import CompletionAsked
from services.inference.openai_compat.endings import ending, finish_reason, usage
from services.inference.openai_compat.failures import cut_short, error_object
from services.inference.openai_compat.gathering import Gathered, gather_all
from services.inference.openai_compat.logprobs import TextLogprobs
from services.inference.runs.joint_answers import Told


async def completion(asked: CompletionAsked, run_id: str, told: Told) -> dict[str, Any]:
    """The answer to a completion that is no stream.

    Args:
        asked: What is answered.
        run_id: Its first run.
        told: What its runs say.

    Raises:
        RunFailed: A run came to no answer.
    """
    said = await gather_all(told, len(asked.requests))
    choices = [(prompt, choice) for prompt in range(len(said)) for choice in range(asked.choice_count)]
    return {
        **_head(run_id, said[0].started, said[0].created),
        "choices": [_whole_choice(asked, said[prompt], prompt, choice) for prompt, choice in choices],
        "usage": usage(*(each.usage for each in said)),
        "parley": _endings(said),
    }


def _whole_choice(asked: CompletionAsked, said: Gathered, prompt: int, number: int) -> dict[str, Any]:
    choice = said.choices[number]
    logprobs = TextLogprobs().of(choice.logprobs) if asked.has_logprobs else None
    reason = finish_reason(said.finished, number)
    return _choice(asked.index(prompt, number), "".join(choice.content), logprobs, reason)


def _endings(said: Sequence[Gathered]) -> dict[str, Any]:
    """The end of the run; of several, each one's, in the order of their prompts."""
    ends = [ending(each.started, each.finished) for each in said]
    return ends[0] if len(ends) == 1 else {"runs": ends}


class CompletionChunks:
    """Makes one completion's chunks.

    Attributes:
        failed: Whether a run came to no answer; then there is nothing more to tell.
    """

    def __init__(self, asked: CompletionAsked, run_id: str) -> None:
        """Answer what was asked, by runs of which this is the first."""
        self.failed = False
        self._asked = asked
        self._run_id = run_id
        self._created = int(time.time())
        self._logprobs: defaultdict[int, TextLogprobs] = defaultdict(TextLogprobs)
        self._started: dict[int, chat_pb2.ChatStarted] = {}
        self._usage: dict[int, chat_pb2.Usage] = {}
        self._left = len(asked.requests)

    def of(self, prompt: int, happened: chat_pb2.ChatEvent) -> Iterator[bytes]:
        """The chunks that stand for an event of a prompt's run."""
        match happened.WhichOneof("event"):
            case "content_delta":
                yield self._content(prompt, happened.content_delta)
            case "started":
                self._started[prompt] = happened.started
            case "usage":
                self._usage[prompt] = happened.usage
            case "finished":
                yield from self._end(prompt, happened.finished)

    def _content(self, prompt: int, delta: chat_pb2.ContentDelta) -> bytes:
        index = self._asked.index(prompt, delta.choice)
        logprobs = self._logprobs[index].of(delta.logprobs) if delta.logprobs else None
        return event({**self._head(prompt), "choices": [_choice(index, delta.text, logprobs)]})

    def _end(self, prompt: int, finished: chat_pb2.ChatFinished) -> Iterator[bytes]:
        failure = cut_short(finished)
        if failure is not None:
            self.failed = True
            yield event(error_object(failure))
            return
        head = {**self._head(prompt), "parley": ending(self._started[prompt], finished)}
        for choice in range(self._asked.choice_count):
            last = _choice(self._asked.index(prompt, choice), "", None, finish_reason(finished, choice))
            yield event({**head, "choices": [last]})
        self._left -= 1
        if not self._left:
            yield from self._end_all(prompt)

    def _end_all(self, prompt: int) -> Iterator[bytes]:
        if self._asked.include_usage:
            yield event({**self._head(prompt), "choices": [], "usage": usage(*self._usage.values())})
        yield DONE

    def _head(self, prompt: int) -> dict[str, Any]:
        return _head(self._run_id, self._started[prompt], self._created)


def _head(run_id: str, started: chat_pb2.ChatStarted, created: int) -> dict[str, Any]:
    return {
        "id": f"cmpl-{run_id}",
        "object": "text_completion",
        "created": created,
        "model": started.model,
    }


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
