"""Turns that are said once: kept for those who ask later, shared by those who ask meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from cachetools import TTLCache
from redis.asyncio import Redis

from services.inference.engine.port import Engine
from services.inference.turn_cache.flight import Flight, Listener
from services.inference.turn_cache.following import Letterboxes
from services.inference.turn_cache.inbox import Inbox
from services.inference.turn_cache.key import TurnRequest
from services.inference.turn_cache.leading import Question
from services.inference.turn_cache.letters import Follow, Gone, Leave, Letter
from services.inference.turn_cache.limits import CacheLimits
from services.inference.turn_cache.metrics import FLIGHTS
from services.inference.turn_cache.pace import Pace
from services.inference.turn_cache.pilot import Means, Pilot
from services.inference.turn_cache.store import Place, StoreAway, TurnStore
from services.rpc.errors import DependencyUnavailable
from services.rpc.tasks import end_task

MOST_FAILED = 1000
FAILED_SECONDS = 10.0
"""Longer than the lease of a flight that failed."""


class TurnCache:
    """The flights of this replica, and its place among the others."""

    def __init__(self, store: Redis, limits: CacheLimits | None = None, pace: Pace | None = None) -> None:
        """Keep turns in this store, which may evict them."""
        pace = pace or Pace()
        self._store = TurnStore(store, limits or CacheLimits(), pace)
        self._inbox = Inbox(store)
        self._boxes = Letterboxes()
        self._means = Means(self._store, self._inbox, self._boxes, pace)
        self._flights: dict[Place, Flight] = {}
        self._pilots: dict[str, Pilot] = {}
        self._failed: TTLCache[str, None] = TTLCache(MOST_FAILED, FAILED_SECONDS)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def sharing(self) -> AsyncIterator[None]:
        """Share turns with other replicas until the block's end; then others go on with them."""
        async with self._inbox.taking(self._take):
            try:
                yield
            finally:
                for task in list(self._tasks):
                    await end_task(task)

    async def wait_until_landed(self) -> None:
        """Return once every turn that is being said now is at its end and kept, or given up."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_until_sharing(self) -> None:
        """Return once other replicas reach this one."""
        await self._inbox.listening.wait()

    async def listen(self, engine: Engine, request: TurnRequest) -> Listener | None:
        """Listen to a turn from its beginning, whoever says it; None where the store does not answer."""
        model = request.card.name
        try:
            epoch = await self._store.epoch(request.tenant_id, model)
        except StoreAway:
            return None
        place = Place(request.tenant_id, model, request.key(epoch))
        flight = self._flights.get(place)
        if flight is not None and not flight.is_over:
            return flight.join()
        return self._begin(place, Question(engine, request.prompt, request.max_output_tokens))

    def _begin(self, place: Place, question: Question) -> Listener:
        flight = self._flights[place] = Flight()
        listener = flight.join()
        pilot = Pilot(flight, place, question, self._means)
        self._pilots[pilot.holder.flight_id] = pilot
        flight.task = asyncio.create_task(pilot.fly())
        flight.task.add_done_callback(partial(self._landed, place, pilot))
        self._tasks.add(flight.task)
        FLIGHTS.inc()
        return listener

    def _landed(self, place: Place, pilot: Pilot, task: asyncio.Task[None]) -> None:
        """Forget a flight; its listeners may still read what was said."""
        FLIGHTS.dec()
        self._tasks.discard(task)
        self._pilots.pop(pilot.holder.flight_id, None)
        if pilot.failed:
            self._failed[pilot.holder.flight_id] = None
        if self._flights.get(place) is pilot.flight:
            del self._flights[place]
        pilot.flight.is_over = True
        pilot.flight.stir()

    async def _take(self, letter: Letter) -> None:
        """Do what a letter asks for."""
        if isinstance(letter, Follow | Leave):
            await self._heed(letter)
        else:
            self._boxes.drop_in(letter)

    async def _heed(self, letter: Follow | Leave) -> None:
        """Do what a follower asks for."""
        pilot = self._pilots.get(letter.flight_id)
        leading = pilot.leading if pilot is not None and not pilot.flight.is_over else None
        if leading is None and isinstance(letter, Follow):
            # One that failed takes leave of its followers before it lands.
            failed = letter.flight_id in self._failed or (pilot is not None and pilot.failed)
            await self._inbox.post(letter.replica, Gone(letter.flight_id, failed))
        elif leading is not None and isinstance(letter, Follow):
            await leading.attend(letter)
        elif leading is not None:
            leading.dismiss(letter.replica)

    async def purge(self, tenant_id: str, model: str) -> int:
        """Forget a tenant's turns of a model; gives how many were deleted.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        try:
            return await self._store.purge(tenant_id, model)
        except StoreAway as error:
            raise DependencyUnavailable("cache") from error
