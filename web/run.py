"""A run: one stream of events being read from the edge, and those who watch what it tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc

from parley_client.errors import ParleyError
from parley_client.stream import EventStream

FRAME_SECONDS = 0.06
"""Time between two pictures of a growing answer: below what eyes tell apart, and it keeps a fast
model from sending the page hundreds of pictures a second."""


class Growing(Protocol):
    """What a stream of events tells, as far as it came. Times are seconds of a steady clock."""

    @property
    def running(self) -> bool:
        """Whether more may come."""
        ...

    def apply(self, event: Any, at: float) -> None:
        """Take in an event that came at `at`."""
        ...

    def fail(self, error: ParleyError, at: float) -> None:
        """The stream broke."""
        ...

    def stop(self, at: float) -> None:
        """The person stopped it."""
        ...


Answered = TypeVar("Answered", bound=Growing)


async def nothing() -> None:
    """Nothing has to be done before."""


class Run(Generic[Answered]):
    """Reads a stream of events into an answer until it ends or is stopped.

    The answer is state, not a queue: a slow browser sees fewer pictures, and
    nothing piles up.
    """

    def __init__(
        self,
        about: str,
        answer: Answered,
        stream: EventStream[Any],
        *,
        before: Callable[[], Awaitable[None]] = nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start reading.

        Args:
            about: The conversation that the answer belongs to, or the tool that was called.
            answer: Where the events go.
            stream: Closed by this run, whatever happens.
            before: Awaited before the stream is opened; what it fails with, the answer does.
            clock: Seconds of a steady clock.
        """
        self.about = about
        self.answer = answer
        self._stream = stream
        self._before = before
        self._clock = clock
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            await self._before()
            async with self._stream as events:
                async for event in events:
                    self.answer.apply(event, self._clock())
                    self._changed.set()
            if self.answer.running:
                self.answer.fail(
                    ParleyError(grpc.StatusCode.INTERNAL, "The answer broke off."), self._clock()
                )
        except ParleyError as error:
            self.answer.fail(error, self._clock())
        finally:
            self._changed.set()

    async def pictures(self) -> AsyncIterator[Answered]:
        """The answer each time it has changed, at most once a frame, and once more at its end."""
        while not self._reader.done():
            await self._changed.wait()
            self._changed.clear()
            yield self.answer
            await asyncio.wait({self._reader}, timeout=FRAME_SECONDS)
        yield self.answer

    def changed(self) -> None:
        """Something else than an event changed the answer: show it."""
        self._changed.set()

    async def stop(self) -> None:
        """End the call at the edge, which frees the engine. Stopping twice changes nothing."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        if self.answer.running:
            self.answer.stop(self._clock())
        self._changed.set()
