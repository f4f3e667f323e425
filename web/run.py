"""A run: one answer being read from the edge, and those who watch it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import grpc

from parley.inference.v1 import chat_pb2
from parley_client.errors import ParleyError
from parley_client.stream import EventStream
from web.answer import Answer

FRAME_SECONDS = 0.06
"""Time between two pictures of a growing answer: below what eyes tell apart, and it keeps a fast
model from sending the page hundreds of pictures a second."""


class Run:
    """Reads a stream of events into an answer until it ends or is stopped.

    The answer is state, not a queue: a slow browser sees fewer pictures, and
    nothing piles up.
    """

    def __init__(
        self,
        conversation_id: str,
        answer: Answer,
        stream: EventStream[chat_pb2.ChatEvent],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start reading.

        Args:
            conversation_id: The conversation that the answer belongs to.
            answer: Where the events go.
            stream: Closed by this run, whatever happens.
            clock: Seconds of a steady clock.
        """
        self.conversation_id = conversation_id
        self.answer = answer
        self._stream = stream
        self._clock = clock
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
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

    async def pictures(self) -> AsyncIterator[Answer]:
        """The answer each time it has changed, at most once a frame, and once more at its end."""
        while not self._reader.done():
            await self._changed.wait()
            self._changed.clear()
            yield self.answer
            await asyncio.wait({self._reader}, timeout=FRAME_SECONDS)
        yield self.answer

    async def stop(self) -> None:
        """End the call at the edge, which frees the engine. Stopping twice changes nothing."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        if self.answer.running:
            self.answer.stop(self._clock())
        self._changed.set()
