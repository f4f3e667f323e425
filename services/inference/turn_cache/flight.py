"""A turn that is being said once, for all who asked for the same."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import replace

from services.inference.reading.step import Step
from services.inference.runs.turn_source import CacheState


class Flight:
    """The steps of a turn so far, and who wants them.

    The log is as long as the turn, which the context bounds; the engine holds
    as much.

    Attributes:
        log: What was said so far.
        complete: Whether the turn was said to its end.
        freed: Set while it holds nothing in the engine.
        followed: Whether another replica wants it.
        task: What brings it its steps.
        state: What the cache had of it when it began; None while that is not known.
        is_over: Whether nobody may join any more.
    """

    def __init__(self) -> None:
        """Begin with nothing said."""
        self.log: list[Step] = []
        self.complete = False
        self.freed = asyncio.Event()
        self.freed.set()
        self.followed = False
        self.task: asyncio.Task[None] | None = None
        self.state: CacheState | None = None
        self.is_over = False
        self._listeners = 0
        self._error: Exception | None = None
        self._given = math.inf
        self._changed = asyncio.Event()

    @property
    def tokens(self) -> int:
        """Tokens said so far."""
        return self.log[-1].usage.completion_tokens if self.log else 0

    def begin(self, state: CacheState) -> None:
        """It is known where the turn comes from. What was known first stands."""
        self.state = self.state or state
        self.stir()

    def generate_from_here(self) -> None:
        """The tokens from here on are generated for whoever began it."""
        self.freed.clear()
        self._given = self.tokens
        self.begin(CacheState.MISS)

    def ceiling(self) -> int:
        """One token a step, so that each listener can stop at the token where its own means end."""
        return self.tokens + 1

    def take(self, *steps: Step | None) -> None:
        """More was said; None is nothing."""
        self.log.extend(step for step in steps if step is not None)
        self.stir()

    def finish(self) -> bool:
        """The turn was said to its end, if it has one; whether it has."""
        self.complete = bool(self.log) and self.log[-1].end is not None
        self.stir()
        return self.complete

    def fail(self, error: Exception) -> None:
        """It goes no further."""
        self._error, self.is_over = error, True
        self.stir()

    def stir(self) -> None:
        """Wake all who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Return at the next change."""
        await self._changed.wait()

    def join(self) -> Listener:
        """Listen, from the beginning."""
        first = self.task is None
        self._listeners += 1
        return Listener(self, began_it=first)

    async def leave(self) -> None:
        """One listens no longer; the last to leave a turn that is not at its end ends it."""
        self._listeners -= 1
        if self.abandon():
            await self.freed.wait()

    def abandon(self) -> bool:
        """End it where nobody wants it; whether that is so."""
        if self._listeners or self.followed or self.complete:
            return False
        if not self.is_over and self.task is not None:
            self.task.cancel()
        self.is_over = True
        return True

    def check(self) -> None:
        """Go on only while it does.

        Raises:
            Exception: What it failed with.
        """
        if self._error is not None:
            raise self._error

    def reused(self, tokens: int, *, began_it: bool) -> int:
        """How many of the first tokens were not generated for a listener."""
        return int(min(tokens, self._given)) if began_it else tokens


class Listener:
    """Listens to a flight. `close` it."""

    def __init__(self, flight: Flight, *, began_it: bool) -> None:
        """Listen; `Flight.join` does this."""
        self._flight = flight
        self._began_it = began_it
        self._came_late = flight.complete
        self._closed = False

    async def state(self) -> CacheState:
        """What the cache has of the turn, for this listener. That it failed is told by its steps."""
        while self._flight.state is None and not self._flight.is_over:
            await self._flight.change()
        if self._came_late:
            return CacheState.HIT
        if self._flight.state is CacheState.MISS and not self._began_it:
            return CacheState.SHARED
        return self._flight.state or CacheState.MISS

    async def steps(self) -> AsyncGenerator[Step, None]:
        """The turn from its beginning, as it comes.

        Raises:
            Exception: What the flight failed with, after all that was said.
        """
        at = 0
        while True:
            while at < len(self._flight.log):
                at += 1
                yield self._marked(self._flight.log[at - 1])
            if self._flight.complete:
                return
            self._flight.check()
            await self._flight.change()

    def _marked(self, step: Step) -> Step:
        """The step, with how much of the turn was not generated for this listener."""
        reused = self._flight.reused(step.usage.completion_tokens, began_it=self._began_it)
        return replace(step, usage=replace(step.usage, reused_tokens=reused)) if reused else step

    async def close(self) -> None:
        """Listen no longer. What nobody else wants is out of the engine when this returns."""
        if not self._closed:
            self._closed = True
            await self._flight.leave()
