"""Gathers what runs say, so that under load an event carries several tokens.

A message costs the service and the edge about as much whether it carries one
token or five.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, TypeGuard

from services.inference.clock import Clock
from services.inference.metrics import GATHERED, SPEAKING
from services.inference.reading.deltas import join
from services.inference.reading.step import Delta, ToolCallDelta
from services.inference.runs.events import RunEvent
from services.rpc.tasks import end_task

FEW_STREAMS = 8
"""Up to so many, every token is an event of its own."""

MANY_STREAMS = 64
"""From so many on, text is gathered for as long as is allowed."""

LOGPROB_BYTES = 64
"""Charged for each log-probability beside the text."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """How much is gathered.

    Attributes:
        most_seconds: For how long at most; 0 for never.
        most_bytes: What an event that is gathered may come to; a single token may be more.
    """

    most_seconds: float = 0.08
    most_bytes: int = 16 * 1024


def window(streams: int, most_seconds: float) -> float:
    """How long text is gathered while so many streams speak, in seconds."""
    share = (streams - FEW_STREAMS) / (MANY_STREAMS - FEW_STREAMS)
    return most_seconds * min(1.0, max(0.0, share))


class Coalescing:
    """Gathers the deltas of a replica's runs, each for itself, all by how many there are."""

    def __init__(self, gathering: Gathering | None = None, clock: Clock | None = None) -> None:
        """Gather so much.

        Args:
            gathering: How much.
            clock: Tells the time; the event loop's by default.
        """
        self._gathering = gathering or Gathering()
        self._clock = clock
        self._speaking = 0

    def gathered(
        self, events: AsyncGenerator[RunEvent, None], most_seconds: float | None = None
    ) -> AsyncGenerator[RunEvent, None]:
        """The same events, and in the end the same text, in fewer deltas.

        The first delta of a turn leaves at once, and so does whatever is no
        delta, with all that was said before it. Nothing is read ahead but what
        is gathered, so that a reader that is slow holds its own run back.

        Args:
            events: What a run says.
            most_seconds: For how long its text may be held back; None for as long as others'.
        """
        clock = self._clock or asyncio.get_running_loop()
        return _Gatherer(events, self, most_seconds, clock).events()

    @property
    def most_bytes(self) -> int:
        """What an event that is gathered may come to."""
        return self._gathering.most_bytes

    def window(self) -> float:
        """How long text is gathered now, in seconds."""
        return window(self._speaking, self._gathering.most_seconds)

    def speaks(self, change: int) -> None:
        """One stream more speaks, or one fewer."""
        self._speaking += change
        SPEAKING.inc(change)


class _Gatherer:
    """Gathers the deltas of one run."""

    def __init__(
        self,
        events: AsyncGenerator[RunEvent, None],
        all_streams: Coalescing,
        most_seconds: float | None,
        clock: Clock,
    ) -> None:
        self._events = events
        self._all = all_streams
        self._most_seconds = most_seconds
        self._clock = clock
        self._due = clock.time()
        self._speaks = False
        # The next event while it is waited for, and until it is taken.
        self._ahead: asyncio.Task[RunEvent | None] | None = None

    async def events(self) -> AsyncGenerator[RunEvent, None]:
        """See `Coalescing.gathered`."""
        try:
            while (event := await self._next()) is not None:
                self._note_speaking(_is_delta(event))
                if not _is_delta(event):
                    self._due = self._clock.time()
                    yield event
                    continue
                for delta in await self._gather(event):
                    yield delta
        finally:
            self._note_speaking(False)
            if self._ahead is not None:
                await end_task(self._ahead)
            await self._events.aclose()

    async def _gather(self, first: Delta) -> list[Delta]:
        """A delta, with those that come before the next may leave."""
        gathered = _Gathered(first)
        if self._clock.time() < self._due:
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            alarm = self._clock.call_at(self._due, over.cancel)
            try:
                while gathered.size < self._all.most_bytes and await self._comes_before(over):
                    more = self._take_delta()
                    if more is None:
                        break
                    gathered.add(more)
            finally:
                alarm.cancel()
        self._due = self._clock.time() + self._window()
        return gathered.deltas

    def _window(self) -> float:
        general = self._all.window()
        return general if self._most_seconds is None else min(general, self._most_seconds)

    async def _comes_before(self, over: asyncio.Future[None]) -> bool:
        """Whether there is another event before this is over."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._read())
        first: set[asyncio.Future[Any]] = {self._ahead, over}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        return self._ahead.done() and not over.done()

    def _take_delta(self) -> Delta | None:
        """The event that is there, if it is a delta; else it stays."""
        if self._ahead is None or self._ahead.exception() is not None:
            return None
        event = self._ahead.result()
        if event is None or not _is_delta(event):
            return None
        self._ahead = None
        return event

    async def _next(self) -> RunEvent | None:
        ahead, self._ahead = self._ahead, None
        return await (self._read() if ahead is None else ahead)

    async def _read(self) -> RunEvent | None:
        """The next event; None where there is none."""
        return await anext(self._events, None)

    def _note_speaking(self, speaks: bool) -> None:
        if speaks is not self._speaks:
            self._speaks = speaks
            self._all.speaks(1 if speaks else -1)


class _Gathered:
    """Deltas that leave together: of each choice in their order, those of a kind as one."""

    def __init__(self, first: Delta) -> None:
        self.deltas = [first]
        self.size = _size(first)

    def add(self, delta: Delta) -> None:
        """Put another to them."""
        self.size += _size(delta)
        for at in reversed(range(len(self.deltas))):
            if _choice(self.deltas[at]) == _choice(delta):
                both = join(self.deltas[at], delta)
                if both is None:
                    break
                self.deltas[at] = both
                GATHERED.inc()
                return
        self.deltas.append(delta)


def _is_delta(event: RunEvent) -> TypeGuard[Delta]:
    return isinstance(event, Delta)


def _choice(delta: Delta) -> int:
    """Whose delta it is; a turn that may call tools has one choice."""
    return 0 if isinstance(delta, ToolCallDelta) else delta.choice


def _size(delta: Delta) -> int:
    if isinstance(delta, ToolCallDelta):
        return len(delta.arguments.encode())
    told = sum(1 + len(each.top) for each in delta.logprobs)
    return len(delta.text.encode()) + LOGPROB_BYTES * told
