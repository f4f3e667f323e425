"""The seats at an engine: who may generate now, and who is next.

An engine that is handed everything serves whoever asks most. Here a request
waits for one of its slots in front of it, and a slot that becomes free goes to
the caller who holds the least for the weight that the caller's roles have.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from prometheus_client import Gauge, Histogram

from services.rpc.call import current_call
from services.rpc.errors import Overloaded
from services.rpc.principal import Principal

# The share of what this process itself asks, as when it warms up.
OURS = ""
# Of what may wait, one caller's requests are this share at most.
CALLERS_SHARE = 2
# Of the time that a seat is held: how much the latest counts.
LATEST_COUNTS = 0.1
LEAST_RETRY = timedelta(seconds=1)

WAITING = Gauge("parley_inference_waiting_requests", "Requests that wait for a slot of the engine.")
WAIT_SECONDS = Histogram(
    "parley_inference_wait_seconds",
    "Time that a request waited for a slot of the engine, in seconds.",
    buckets=(0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
)


@dataclass(frozen=True, slots=True)
class Share:
    """Whose seat it is, and how much of the engine the caller is due against others.

    Attributes:
        caller: Names the caller; all that is asked in this name counts together.
        weight: Above 0; who has twice the weight gets twice the seats.
    """

    caller: str
    weight: float = 1.0

    @classmethod
    def of(cls, principal: Principal, weights: Mapping[str, float]) -> Share:
        """The share of a caller: the greatest weight of the caller's roles counts, 1 where none has one."""
        caller = f"{principal.tenant_id}/{principal.user_id}"
        return cls(caller, max((weights[role] for role in principal.roles if role in weights), default=1.0))


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request that waits, until it is its turn."""

    turn: asyncio.Future[None]
    places: int


class Seats:
    """Seats at one engine, for one event loop."""

    def __init__(self, seats: int, *, max_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Offer seats.

        Args:
            seats: How many requests generate at once; at least 1.
            max_waiting: How many wait beyond; 0 lets nobody wait.
            clock: Tells the time, in seconds.
        """
        self._clock = clock
        self._seats = seats
        self._max_waiting = max_waiting
        self._callers_most = -(-max_waiting // CALLERS_SHARE)
        self._taken: Counter[str] = Counter()
        self._queues: dict[str, deque[_Waiting]] = {}
        self._weights: dict[str, float] = {}
        self._held_seconds = 0.0

    @property
    def taken(self) -> int:
        """Seats that are taken."""
        return self._taken.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return sum(map(len, self._queues.values()))

    def resize(self, seats: int) -> None:
        """Offer another number of seats; those that are taken stay so."""
        self._seats = seats
        self._seat_next()

    def expected_seconds(self) -> float:
        """About how long a request that comes now waits, by how long seats were held of late."""
        if self.taken + self.waiting < self._seats:
            return 0.0
        return (self.waiting + 1) / self._seats * self._held_seconds

    def refuse_hopeless(self, share: Share, seconds: float) -> None:
        """Refuse at once what would wait for nothing.

        Args:
            share: Who asks.
            seconds: How long the request can wait at most.

        Raises:
            Overloaded: The queue is full, or the wait would be longer.
        """
        expected = self.expected_seconds()
        if expected > seconds:
            raise _overloaded(
                f"A slot of the engine will be free in about {expected:.1f} s, and the request ends before.",
                expected,
            )
        if self.taken + self.waiting >= self._seats:
            self._refuse_full(share)

    def _refuse_full(self, share: Share) -> None:
        """Let nobody wait beyond the queue's end.

        Raises:
            Overloaded: It is full, or holds all that one caller may have in it.
        """
        if self.waiting >= self._max_waiting:
            raise _overloaded("Too many requests wait for the model.", self.expected_seconds())
        if len(self._queues.get(share.caller, ())) >= self._callers_most:
            raise _overloaded("Too many requests of yours wait for the model.", self.expected_seconds())

    @asynccontextmanager
    async def seat(self, share: Share, places: int = 1) -> AsyncIterator[None]:
        """A seat until the block ends, as soon as it is the caller's turn.

        Args:
            share: Who asks.
            places: How many seats it takes, as many as there are at most.

        Raises:
            Overloaded: The queue is full.
        """
        asked, places = self._clock(), min(places, self._seats)
        await self._sit_down(share, places)
        began = self._clock()
        WAIT_SECONDS.observe(began - asked)
        try:
            yield
        finally:
            self._note(self._clock() - began)
            self._stand_up(share.caller, places)

    async def _sit_down(self, share: Share, places: int) -> None:
        if self.taken + places <= self._seats and not self._queues:
            self._taken[share.caller] += places
            return
        self._refuse_full(share)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), places)
        self._queues.setdefault(share.caller, deque()).append(waiting)
        self._weights[share.caller] = share.weight
        WAITING.inc()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._leave(share.caller, waiting)
            else:
                self._stand_up(share.caller, places)  # it was seated and left in the same moment
            raise
        finally:
            WAITING.dec()

    def _leave(self, caller: str, waiting: _Waiting) -> None:
        """Take a request that goes away out of the queue, if it was not passed over before."""
        if waiting in self._queues.get(caller, ()):
            self._queues[caller].remove(waiting)
            self._forget_if_empty(caller)
            self._seat_next()  # seats may have been kept free for it

    def _stand_up(self, caller: str, places: int) -> None:
        """Free seats for whoever is next."""
        self._taken[caller] -= places
        if not self._taken[caller]:
            del self._taken[caller]
        self._seat_next()

    def _seat_next(self) -> None:
        """Give free seats to those who hold the least for their weight; among equals, who came first.

        Whoever is next and needs several keeps the free ones until there are enough,
        or the requests that need one would go ahead for ever.
        """
        while self._queues and self.taken < self._seats:
            caller = min(self._queues, key=lambda each: self._taken[each] / self._weights[each])
            first = self._queues[caller][0]
            if not first.turn.cancelled() and self.taken and self.taken + first.places > self._seats:
                return
            self._queues[caller].popleft()
            # To the end of its equals.
            self._queues[caller] = self._queues.pop(caller)
            self._forget_if_empty(caller)
            if not first.turn.cancelled():
                self._taken[caller] += first.places
                first.turn.set_result(None)

    def _forget_if_empty(self, caller: str) -> None:
        if not self._queues[caller]:
            del self._queues[caller], self._weights[caller]

    def _note(self, held_seconds: float) -> None:
        if not self._held_seconds:
            self._held_seconds = held_seconds
        self._held_seconds += LATEST_COUNTS * (held_seconds - self._held_seconds)


class Door:
    """The way to the seats for the current caller, by what the caller's roles are due."""

    def __init__(self, seats: Seats, weights: Mapping[str, float]) -> None:
        """Lead to these seats.

        Args:
            seats: The seats.
            weights: What callers are due, by the names of their roles.
        """
        self._seats = seats
        self._weights = weights

    def refuse_hopeless(self, until: float) -> None:
        """Refuse what the current caller asks, where it cannot be seated in time.

        Args:
            until: When the request ends, on the event loop's clock.

        Raises:
            Overloaded: The queue is full, or the wait would be longer.
        """
        self._seats.refuse_hopeless(self._share(), until - asyncio.get_running_loop().time())

    def seat(self, places: int = 1) -> AbstractAsyncContextManager[None]:
        """A seat for the current caller; see `Seats.seat`."""
        return self._seats.seat(self._share(), places)

    @property
    def waiting(self) -> int:
        """Requests that wait for a seat."""
        return self._seats.waiting

    def _share(self) -> Share:
        try:
            principal = current_call().principal
        except LookupError:
            return Share(OURS)
        return Share(OURS) if principal is None else Share.of(principal, self._weights)


def _overloaded(message: str, expected_seconds: float) -> Overloaded:
    return Overloaded(message, retry_after=max(LEAST_RETRY, timedelta(seconds=expected_seconds)))
