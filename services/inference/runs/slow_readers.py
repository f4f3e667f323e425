"""Gives up readers that do not take what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import TypeVar

from prometheus_client import Counter

from services.inference.clock import Alarm, Clock

T = TypeVar("T")

PATIENCE_SECONDS = 30.0

GIVEN_UP = Counter("parley_inference_slow_readers_total", "Readers that took nothing for too long.")
CUT = Counter("parley_inference_cut_readers_total", "Of them, those whose call was cut in the end.")


async def read_in_time(
    items: AsyncGenerator[T, None],
    seconds: float,
    give_up: Callable[[], Exception | None],
    cut: Callable[[], None],
    clock: Clock | None = None,
) -> AsyncGenerator[T, None]:
    """The same items, for a reader that takes each in time.

    Nothing is read ahead, so that what a reader leaves is not kept here.

    Args:
        items: What is to be read.
        seconds: How long one may take.
        give_up: Called when one takes longer: frees what the reader holds up. What
            it gives is raised when the reader comes back; with None the rest is read.
        cut: Called when it takes as long again: ends the call.
        clock: Tells the time; the event loop's by default.

    Raises:
        Exception: What `give_up` gave.
    """
    watch = _Watch(seconds, give_up, cut, clock or asyncio.get_running_loop())
    async with aclosing(items):
        async for item in items:
            with watch:
                yield item
            if watch.error is not None:
                raise watch.error


class _Watch:
    """The block in which an item is written; it is entered for every one."""

    def __init__(
        self,
        seconds: float,
        give_up: Callable[[], Exception | None],
        cut: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.error: Exception | None = None
        self._seconds = seconds
        self._give_up = give_up
        self._cut = cut
        self._clock = clock
        self._alarm: Alarm | None = None

    def __enter__(self) -> None:
        self._wait_for(self._too_slow)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()

    def _wait_for(self, then: Callable[[], None]) -> None:
        self._alarm = self._clock.call_at(self._clock.time() + self._seconds, then)

    def _too_slow(self) -> None:
        GIVEN_UP.inc()
        self.error = self._give_up()
        self._wait_for(self._much_too_slow)

    def _much_too_slow(self) -> None:
        CUT.inc()
        self._cut()
