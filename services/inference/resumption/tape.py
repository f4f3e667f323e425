"""The events of a run that outlives its client, as far as they are kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from prometheus_client import Gauge

EVENT_BYTES = 128
"""Charged for each event beside its own bytes: what holds it. It bounds their number, too."""

TAPE_BYTES = 16 * 1024
"""Charged for each tape beside its events: its run, and the tasks of that. It bounds their number, too."""

ADMITTED_SHARE = 0.75

KEPT_BYTES = Gauge("parley_inference_kept_bytes", "Bytes of events that this replica keeps for `Resume`.")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept of runs.

    Attributes:
        run_bytes: Of one, at most; beyond it the oldest events go.
        total_bytes: Of all of this replica, at most.
        grace_seconds: Time that runs have to end when the replica stops.
    """

    run_bytes: int = 2 * 2**20
    total_bytes: int = 32 * 2**20
    grace_seconds: float = 10.0


class Room:
    """How many bytes the tapes of a replica may hold together."""

    def __init__(self, max_bytes: int) -> None:
        """Share this many."""
        self._max_bytes = max_bytes
        self._used = 0

    @property
    def used(self) -> int:
        """Bytes that are held."""
        return self._used

    @property
    def is_full(self) -> bool:
        """Whether there is no place at all."""
        return self._used > self._max_bytes

    @property
    def admits(self) -> bool:
        """Whether another tape may begin; those that run keep a share for themselves."""
        return self._used + TAPE_BYTES <= ADMITTED_SHARE * self._max_bytes

    def take(self, size: int) -> None:
        """Hold so many bytes more, or fewer."""
        self._used += size
        KEPT_BYTES.set(self._used)


class BeginningGoneError(Exception):
    """Events are asked for that are kept no longer; `first` is the first that is."""

    def __init__(self, first: int) -> None:
        super().__init__(first)
        self.first = first


class Tape:
    """Takes a run's events and gives them to any number of readers, each at its own pace.

    Nobody holds it up: beyond its bounds the oldest events go.
    """

    def __init__(self, room: Room, max_bytes: int, beside: int = 0) -> None:
        """Begin with none.

        Args:
            room: What all tapes share.
            max_bytes: What this one may hold; its last event in any case.
            beside: Bytes that are kept for the run beside its events.
        """
        self._room = room
        self._max_bytes = max_bytes + TAPE_BYTES + beside
        self._events: deque[bytes] = deque()
        self._bytes = 0
        self._last = 0
        self._over = False
        self._changed = asyncio.Event()
        self._charge(TAPE_BYTES + beside)

    @property
    def first(self) -> int:
        """The number of the first event that is kept."""
        return self._last - len(self._events) + 1

    @property
    def last(self) -> int:
        """The number of the last event; 0 before any."""
        return self._last

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self._over

    def add(self, event: bytes) -> None:
        """Take the next event."""
        self._events.append(event)
        self._last += 1
        self._charge(len(event) + EVENT_BYTES)
        while len(self._events) > 1 and (self._bytes > self._max_bytes or self._room.is_full):
            self._charge(-len(self._events.popleft()) - EVENT_BYTES)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._over = True
        self._changed.set()

    def clear(self) -> None:
        """Keep nothing any longer."""
        self.end()
        self._events.clear()
        self._charge(-self._bytes)

    def _charge(self, size: int) -> None:
        self._bytes += size
        self._room.take(size)

    async def wait_beyond(self, sequence: int, seconds: float | None = None) -> None:
        """Return when there is an event after this one, or none will be, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._last <= sequence and not self._over:
                    self._changed.clear()
                    await self._changed.wait()

    def after(self, sequence: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """Events that are kept after this one, with numbers: up to so many bytes, or at least one."""
        begin = max(sequence + 1, self.first)
        found: list[tuple[int, bytes]] = []
        size = 0
        for number, event in enumerate(islice(self._events, begin - self.first, None), begin):
            size += len(event)
            if found and size > max_bytes:
                break
            found.append((number, event))
        return found

    async def read(self, after: int) -> AsyncGenerator[bytes, None]:
        """The events after this one: those that are there, and then the others as they come.

        Raises:
            BeginningGoneError: The next one is kept no longer.
        """
        place = after
        while True:
            while place < self._last:
                if place + 1 < self.first:
                    raise BeginningGoneError(self.first)
                place += 1
                yield self._events[place - self.first]
            if self._over:
                return
            await self.wait_beyond(place)
