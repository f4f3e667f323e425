"""Says a turn with this replica's engine, for whoever listens here and on other replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace

from services.inference.engine.port import Engine, Prompt
from services.inference.errors import EngineFailed
from services.inference.turn_cache.continuation import Continuation
from services.inference.turn_cache.flight import Flight
from services.inference.turn_cache.holder import Holder
from services.inference.turn_cache.inbox import Inbox
from services.inference.turn_cache.letters import STEPS_A_LETTER, Follow, Gone, Steps
from services.inference.turn_cache.pace import Pace
from services.inference.turn_cache.store import Place, StoreAway, TurnStore
from services.rpc.tasks import end_task

FLUSH_SECONDS = 1.0


@dataclass(slots=True)
class Follower:
    """Another replica that follows.

    Attributes:
        sent: How many steps it was sent.
        confirmed: How many it had when it last wrote.
        heard_at: When that was, on the event loop's clock.
        knows_the_end: Whether it was sent the end.
    """

    sent: int
    confirmed: int
    heard_at: float
    knows_the_end: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What the engine is asked.

    Attributes:
        engine: The engine.
        prompt: The prompt.
        max_output_tokens: Tokens that the turn may have.
    """

    engine: Engine
    prompt: Prompt
    max_output_tokens: int

    @property
    def model(self) -> str:
        """The model's name."""
        return self.engine.card.name


async def generate(flight: Flight, question: Question, request_id: str) -> None:
    """Say a flight's turn, from where it is to its end.

    Raises:
        ServiceError: The engine gave it up.
        Diverged: What was said cannot be gone on with.
    """
    continuation = Continuation(flight.log)
    flight.generate_from_here()
    steps = question.engine.generate(
        question.prompt,
        max_output_tokens=question.max_output_tokens,
        request_id=request_id,
        ceiling=flight.ceiling,
    )
    try:
        async with aclosing(steps):
            async for step in steps:
                # Whoever goes on with a turn that is shared says it from its beginning.
                flight.take(continuation.read(replace(step, token_ids=())))
    finally:
        flight.freed.set()
    if not flight.finish():
        raise EngineFailed(question.model)


class Leading:
    """Holds the lease on a turn and sends followers its steps.

    Attributes:
        holder: As whom.
    """

    def __init__(
        self, flight: Flight, holder: Holder, place: Place, store: TurnStore, inbox: Inbox, pace: Pace
    ) -> None:
        """Say the turn of this flight, as this holder."""
        self._flight = flight
        self.holder = holder
        self._place = place
        self._store = store
        self._inbox = inbox
        self._pace = pace
        self._followers: dict[str, Follower] = {}
        self._relaying: asyncio.Task[None] | None = None

    async def lead(self, question: Question) -> None:
        """Say the turn and keep it.

        Raises:
            ServiceError: The engine gave it up.
            Diverged: What was said cannot be gone on with.
        """
        async with self._holding():
            try:
                await generate(self._flight, question, self.holder.flight_id)
            except EngineFailed:
                # The lease stays for its time, so that those who try again are counted.
                raise
            except BaseException:
                await self._settle(keep=False)
                raise
            await self._settle(keep=True)
            if self._relaying is not None:
                await asyncio.wait({self._relaying}, timeout=FLUSH_SECONDS)

    @asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """Keep the lease and the followers until the block's end."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            await end_task(keeping)

    async def close(self, farewell: Gone) -> None:
        """Tell the followers that there is no more."""
        if self._relaying is not None:
            await end_task(self._relaying)
        for replica in self._followers:
            await self._inbox.post(replica, farewell)

    async def _settle(self, *, keep: bool) -> None:
        with suppress(StoreAway):
            await self._store.settle(self._place, self.holder, self._flight.log if keep else None)

    async def _keep(self) -> None:
        """Renew the lease, and forget followers that are silent."""
        while True:
            await asyncio.sleep(self._pace.beat_seconds)
            with suppress(StoreAway):
                await self._store.renew(self._place, self.holder, self._pace.silence_seconds)
            oldest = asyncio.get_running_loop().time() - self._pace.silence_seconds
            for replica, follower in list(self._followers.items()):
                if follower.heard_at < oldest:
                    self.dismiss(replica)

    async def attend(self, letter: Follow) -> None:
        """Send the flight's steps to a replica that follows it."""
        now = asyncio.get_running_loop().time()
        known = self._followers.setdefault(letter.replica, Follower(letter.at, -1, now))
        if known.confirmed == letter.at or letter.at > known.sent:
            # What was sent since did not arrive.
            known.sent, known.knows_the_end = letter.at, False
        known.confirmed, known.heard_at = letter.at, now
        self._flight.followed = True
        if self._relaying is None:
            self._relaying = asyncio.create_task(self._relay())
        self._flight.stir()
        if not self._lacks(known):
            await self._inbox.post(letter.replica, Steps(self.holder.flight_id, known.sent, ()))

    def dismiss(self, replica: str) -> None:
        """A replica follows no longer."""
        self._followers.pop(replica, None)
        self._flight.followed = bool(self._followers)
        self._flight.abandon()

    async def _relay(self) -> None:
        """Send followers what they lack; while one letter is under way, the next one's steps gather."""
        while True:
            behind = [each for each in self._followers.items() if self._lacks(each[1])]
            for replica, follower in behind:
                await self._send(replica, follower)
            if not behind and self._flight.complete:
                return
            if not behind:
                await self._flight.change()

    def _lacks(self, follower: Follower) -> bool:
        """Whether a follower was not sent all there is, that it is the end included."""
        return follower.sent < len(self._flight.log) or (self._flight.complete and not follower.knows_the_end)

    async def _send(self, replica: str, follower: Follower) -> None:
        at = follower.sent
        steps = tuple(self._flight.log[at : at + STEPS_A_LETTER])
        is_last = self._flight.complete and at + len(steps) == len(self._flight.log)
        if await self._inbox.post(replica, Steps(self.holder.flight_id, at, steps, is_last)):
            follower.sent, follower.knows_the_end = at + len(steps), is_last
        else:
            self.dismiss(replica)
