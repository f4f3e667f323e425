"""Brings a flight its steps: from the cache, from the replica that says the turn, or from the engine."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass

from services.inference.errors import EngineFailed
from services.inference.reading.step import Step
from services.inference.runs.turn_source import CacheState
from services.inference.turn_cache.continuation import Continuation, Diverged
from services.inference.turn_cache.flight import Flight
from services.inference.turn_cache.following import Ending, Following, Letterboxes
from services.inference.turn_cache.holder import MOST_TAKEOVERS, Holder
from services.inference.turn_cache.inbox import Inbox
from services.inference.turn_cache.leading import Leading, Question, generate
from services.inference.turn_cache.letters import Gone
from services.inference.turn_cache.metrics import TAKEOVERS
from services.inference.turn_cache.pace import Pace
from services.inference.turn_cache.store import Claim, Place, StoreAway, TurnStore


@dataclass(frozen=True, slots=True)
class Means:
    """What every pilot of a replica uses.

    Attributes:
        store: Entries and leases.
        inbox: The letters of this replica.
        boxes: Where letters of holders are waited for.
        pace: How replicas keep in touch.
    """

    store: TurnStore
    inbox: Inbox
    boxes: Letterboxes
    pace: Pace


class Pilot:
    """Flies one flight to its end.

    Attributes:
        flight: The flight.
        holder: Its name for other replicas.
        leading: What its followers speak to; one may write before it is known here that this replica leads.
        failed: Whether the engine gave the turn up.
    """

    def __init__(self, flight: Flight, place: Place, question: Question, means: Means) -> None:
        """Say the turn that this question makes and that lies in this place."""
        self.flight = flight
        self.holder = Holder.new(means.inbox.replica)
        self.leading = Leading(flight, self.holder, place, means.store, means.inbox, means.pace)
        self.failed = False
        self._place = place
        self._question = question
        self._means = means

    async def fly(self) -> None:
        """Bring the flight to its end, or to its failure, which its listeners are told."""
        try:
            await self._fly()
        except Diverged:
            # What was said cannot be taken back: it stands, as with an engine that died.
            self.flight.fail(EngineFailed(self._question.model))
        except Exception as error:
            self.failed = isinstance(error, EngineFailed)
            self.flight.fail(error)
        finally:
            await self.leading.close(Gone(self.holder.flight_id, self.failed))

    async def _fly(self) -> None:
        gone: Holder | None = None
        while True:
            claim = await self._claim(gone)
            if self.flight.is_over:
                # The store's client can lose a cancellation.
                return None
            if isinstance(claim, tuple):
                return self._replay(claim)
            if claim is self.holder:
                return await self.leading.lead(self._question)
            if claim is None or not self._means.inbox.listening.is_set():
                return await generate(self.flight, self._question, self.holder.flight_id)
            ending = await self._follow(claim)
            if ending is None or (ending is Ending.COMPLETE and self.flight.finish()):
                return None
            gone = claim
            if ending is Ending.LOST:
                self._succeed(gone)

    async def _claim(self, gone: Holder | None) -> Claim | None:
        """Look the turn up; None where the store does not answer."""
        try:
            silence = self._means.pace.silence_seconds
            return await self._means.store.claim(self._place, self.holder, silence, gone)
        except StoreAway:
            return None

    def _replay(self, steps: Iterable[Step]) -> None:
        self.flight.begin(CacheState.HIT)
        continuation = Continuation(self.flight.log)
        self.flight.take(*(continuation.read(step) for step in steps))
        self.flight.finish()

    async def _follow(self, holder: Holder) -> Ending | None:
        """Take the steps of a holder for as long as it lives, and they are wanted."""
        continuation = Continuation(self.flight.log)
        means = self._means
        following = Following(self.flight, holder, means.inbox, means.boxes, means.pace)
        async with aclosing(following.steps()) as steps:
            async for step in steps:
                self.flight.take(continuation.read(step))
        return following.ending

    def _succeed(self, lost: Holder) -> None:
        """Be ready to go on after a holder that was lost.

        Raises:
            EngineFailed: Too many were.
        """
        if lost.takeovers >= MOST_TAKEOVERS:
            raise EngineFailed(self._question.model)
        TAKEOVERS.inc()
        self.holder = self.leading.holder = self.holder.after(lost)
