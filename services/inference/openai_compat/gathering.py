"""Gathers a run's events into what an answer in one piece is made of."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from parley.inference.v1 import chat_pb2, logprobs_pb2, message_pb2
from services.inference.openai_compat.failures import RunFailed, cut_short
from services.inference.runs.joint_answers import Told

Responses = AsyncIterator[chat_pb2.ChatResponse]


@dataclass
class Choice:
    """One of the answers.

    Attributes:
        content: Its text, in parts.
        reasoning: What the model thought before, in parts.
        logprobs: The tokens of the text, where they were asked for.
    """

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    logprobs: list[logprobs_pb2.TokenLogprob] = field(default_factory=list)


@dataclass
class Gathered:
    """What a run said.

    Attributes:
        created: When it began, in seconds of Unix time.
        started: Its first event.
        finished: Its last event.
        usage: The tokens that it used.
        choices: Its answers, by number.
        calls: The calls that the client answers.
    """

    created: int = field(default_factory=lambda: int(time.time()))
    started: chat_pb2.ChatStarted = field(default_factory=chat_pb2.ChatStarted)
    finished: chat_pb2.ChatFinished = field(default_factory=chat_pb2.ChatFinished)
    usage: chat_pb2.Usage = field(default_factory=chat_pb2.Usage)
    choices: defaultdict[int, Choice] = field(default_factory=lambda: defaultdict(Choice))
    calls: list[message_pb2.ToolCall] = field(default_factory=list)

    def take(self, happened: chat_pb2.ChatEvent) -> None:
        """Take an event in."""
        match happened.WhichOneof("event"):
            case "content_delta":
                delta = happened.content_delta
                choice = self.choices[delta.choice]
                choice.content.append(delta.text)
                choice.logprobs.extend(delta.logprobs)
            case "reasoning_delta":
                self.choices[happened.reasoning_delta.choice].reasoning.append(happened.reasoning_delta.text)
            case "tool_call" if happened.tool_call.client_side:
                self.calls.append(happened.tool_call.call)
            case "usage":
                self.usage = happened.usage
            case "started":
                self.started = happened.started
            case "finished":
                self.finished = happened.finished

    def check(self) -> None:
        """Go on only while the run has not failed.

        Raises:
            RunFailed: It came to no answer.
        """
        failure = cut_short(self.finished)
        if failure is not None:
            raise RunFailed(failure)


async def gather(responses: Responses) -> Gathered:
    """What a run said.

    Raises:
        RunFailed: It came to no answer.
    """
    gathered = Gathered()
    async for response in responses:
        gathered.take(response.event)
    gathered.check()
    return gathered


async def gather_all(told: Told, runs: int) -> list[Gathered]:
    """What each of several runs said; the first that fails is the end of all.

    Raises:
        RunFailed: One came to no answer.
    """
    gathered = [Gathered() for _ in range(runs)]
    async for run, response in told:
        gathered[run].take(response.event)
        gathered[run].check()
    return gathered
