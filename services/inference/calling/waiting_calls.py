"""Calls of a run that wait for somebody outside it: for a decision, or for a client's result."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

from services.rpc.principal import permits


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call may run, and what the decider had to say."""

    approved: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class ClientResult:
    """What came of a call that the client made; where it failed, why."""

    content: str
    failed: bool = False


Answer = Decision | ClientResult


class Outcome(Enum):
    """What became of an answer."""

    NO_RUN = "0"
    TAKEN = "1"
    NOT_WAITING = "2"
    NOT_PERMITTED = "3"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an answer; with `NOT_PERMITTED`, the permission that is missing."""

    outcome: Outcome
    permission: str = ""


@dataclass(slots=True)
class _Waiting:
    """A call that waits, or did.

    Attributes:
        kind: What it waits for.
        until: When it waits no longer, on the event loop's clock.
        permission: What whoever lets it run must hold; empty for nothing.
        answer: What it was told.
        answered: Set with the answer.
    """

    kind: type[Answer]
    until: float
    permission: str
    answer: Answer | None = None
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class WaitingCalls:
    """The calls of one run that wait, by id, and those that were answered."""

    def __init__(self) -> None:
        """Begin with none."""
        self._calls: dict[str, _Waiting] = {}

    def expect(self, call_id: str, kind: type[Answer], seconds: float, *, permission: str = "") -> None:
        """Take an answer of this kind to a call from now on, for this long.

        Args:
            call_id: The call. One of an earlier round with the same id is forgotten.
            kind: `Decision` or `ClientResult`.
            seconds: How long.
            permission: What whoever lets it run must hold.
        """
        until = asyncio.get_running_loop().time() + seconds
        self._calls[call_id] = _Waiting(kind, until, permission)

    async def wait(self, call_id: str) -> Answer | None:
        """The answer to a call that is expected; None where there is none in time."""
        waiting = self._calls[call_id]
        with suppress(TimeoutError):
            async with asyncio.timeout_at(waiting.until):
                await waiting.answered.wait()
        if waiting.answer is None:
            del self._calls[call_id]
        return waiting.answer

    def answer(self, call_id: str, answer: Answer, granted: Collection[str]) -> Delivery:
        """Answer a call. The same answer again is taken, and changes nothing.

        Args:
            call_id: The call.
            answer: The answer.
            granted: The permissions of whoever answers.
        """
        waiting = self._calls.get(call_id)
        if waiting is None or not isinstance(answer, waiting.kind):
            return Delivery(Outcome.NOT_WAITING)
        lets_run = isinstance(answer, Decision) and answer.approved
        if lets_run and waiting.permission and not permits(granted, waiting.permission):
            return Delivery(Outcome.NOT_PERMITTED, waiting.permission)
        if waiting.answer is None:
            waiting.answer = answer
            waiting.answered.set()
        return Delivery(Outcome.TAKEN if waiting.answer == answer else Outcome.NOT_WAITING)
