"""Runs that outlive their client, at the replica that has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ulid import ULID

from services.inference.resumption.errors import EventsGone
from services.inference.resumption.tape import BeginningGoneError, Tape
from services.inference.runs.events import FinishReason
from services.inference.runs.registry import Owner, Run
from services.inference.runs.token_trail import TokenTrail
from services.rpc.errors import ServiceError

ATTENDANCE_SECONDS = 6.0
"""How long a reader at another replica counts after it was last heard of."""

Headers = tuple[tuple[str, str], ...]


class KeptRun:
    """A run in a task of its own, and those who read it.

    It is cancelled when nobody has read it for the time of its window, and at
    once if its client leaves before it was told anything.

    Attributes:
        owner: Whose it is.
        seconds: Its window.
        tape: What it says.
        request: What was asked for, as it came.
        trail: The tokens of its turn.
        writer: As whom its journal is written.
        run: The run; None before it is opened.
        writing: What copies it to the journal.
    """

    def __init__(self, owner: Owner, seconds: float, tape: Tape, request: bytes) -> None:
        """Wait for the run; `Resumption.begin` starts it."""
        self.owner = owner
        self.seconds = seconds
        self.tape = tape
        self.request = request
        self.trail = TokenTrail()
        self.writer = str(ULID())
        self.run: Run | None = None
        self.writing: asyncio.Task[None] | None = None
        self._ending: tuple[FinishReason, ServiceError | None] | None = None
        self._begun = asyncio.Event()
        self._headers: Headers = ()
        self._refusal: Exception | None = None
        self._told = False
        self._readers = 0
        self._read_until = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def opened(self, run: Run) -> None:
        """The run is opened; it may still be refused."""
        self.run = run
        run.attended = self.attended
        run.trail = self.trail
        if self._ending is not None:
            run.end(*self._ending)

    def begin(self, headers: Headers) -> None:
        """The run is prepared, and its caller is to be sent these headers."""
        self._headers = headers
        self._begun.set()

    def over(self, error: Exception | None = None) -> None:
        """The run is over; with an error, where it could not begin."""
        if not self._begun.is_set():
            self._refusal = error
        self._begun.set()
        self.tape.end()
        self._watch_no_more()

    async def headers(self) -> Headers:
        """What its caller is sent first.

        Raises:
            ServiceError: The run could not begin.
        """
        await self._begun.wait()
        if self._refusal is not None:
            raise self._refusal
        return self._headers

    def end(self, reason: FinishReason, error: ServiceError | None = None) -> None:
        """End the run; see `Run.end`."""
        if self.run is None:
            self._ending = self._ending or (reason, error)
        else:
            self.run.end(reason, error)

    def revoke(self) -> None:
        """Its caller's token was revoked."""
        self.end(FinishReason.REVOKED)

    def attended(self) -> None:
        """It is read at another replica."""
        self._note_reader(ATTENDANCE_SECONDS)
        if self._readers == 0:
            self._watch_window()

    def reader(self) -> Reader:
        """Another reader."""
        self._readers += 1
        return Reader(self)

    async def events(self, after: int) -> AsyncGenerator[bytes, None]:
        """The events after this one, as they come.

        Raises:
            ServiceError: The run could not begin, or the next event is gone.
        """
        await self.headers()
        try:
            async with aclosing(self.tape.read(after)) as events:
                async for event in events:
                    self._told = True
                    yield event
        except BeginningGoneError as gone:
            run_id = self.run.run_id if self.run is not None else ""
            raise EventsGone(run_id, gone.first) from None

    def left(self) -> None:
        """A reader left."""
        self._readers -= 1
        self._note_reader()
        if self._readers > 0 or self.tape.over:
            return
        if self._told:
            self._watch_window()
        else:
            self.end(FinishReason.CANCELLED)

    def _note_reader(self, seconds: float = 0.0) -> None:
        """It was read until now, or will be for so long."""
        self._read_until = max(self._read_until, asyncio.get_running_loop().time() + seconds)

    def _watch_window(self) -> None:
        """Cancel the run if nobody reads it until its window ends."""
        self._watch_no_more()
        loop = asyncio.get_running_loop()
        self._watch = loop.call_at(self._read_until + self.seconds, self._window_ended)

    def _window_ended(self) -> None:
        if self._readers == 0:
            self.end(FinishReason.CANCELLED)

    def _watch_no_more(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def forget(self) -> None:
        """Its window after the end is over, too."""
        self.tape.clear()
        if self.writing is not None:
            self.writing.cancel()


class Reader:
    """One of those who read a kept run."""

    def __init__(self, kept: KeptRun) -> None:
        """Read this; `KeptRun.reader` makes it."""
        self._kept = kept
        self._left = False

    def events(self, after: int) -> AsyncGenerator[bytes, None]:
        """See `KeptRun.events`."""
        return self._kept.events(after)

    def leave(self) -> None:
        """Read no more. Leaving twice changes nothing."""
        if not self._left:
            self._left = True
            self._kept.left()
