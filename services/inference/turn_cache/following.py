"""Follows a turn that another replica says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from enum import Enum, auto

from services.inference.reading.step import Step
from services.inference.runs.turn_source import CacheState
from services.inference.turn_cache.flight import Flight
from services.inference.turn_cache.holder import Holder
from services.inference.turn_cache.inbox import Inbox
from services.inference.turn_cache.letters import Follow, Gone, Leave, Steps
from services.inference.turn_cache.pace import Pace

MOST_LETTERS = 1024
"""What a follower has not read; more is dropped, and asked for again."""


class Ending(Enum):
    """Why a holder is followed no longer."""

    COMPLETE = auto()
    RELEASED = auto()
    LOST = auto()


class Letterboxes:
    """Where the letters of holders wait for those who follow them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._boxes: dict[str, asyncio.Queue[Steps | Gone]] = {}

    @contextmanager
    def open(self, flight_id: str) -> Iterator[asyncio.Queue[Steps | Gone]]:
        """A place for the letters about a flight, until the block's end."""
        box = self._boxes[flight_id] = asyncio.Queue(MOST_LETTERS)
        try:
            yield box
        finally:
            del self._boxes[flight_id]

    def drop_in(self, letter: Steps | Gone) -> None:
        """Put a letter where it is waited for."""
        box = self._boxes.get(letter.flight_id)
        if box is not None and not box.full():
            box.put_nowait(letter)


class Following:
    """Follows one holder, who is asked again and again for what is lacking."""

    def __init__(self, flight: Flight, holder: Holder, inbox: Inbox, boxes: Letterboxes, pace: Pace) -> None:
        """Follow this holder, for this flight."""
        self._flight = flight
        self._holder = holder
        self._inbox = inbox
        self._boxes = boxes
        self._pace = pace
        self._have = 0
        self._heard_at = _now()
        self.ending: Ending | None = None

    async def steps(self) -> AsyncGenerator[Step, None]:
        """The holder's steps; `ending` says why there are no more."""
        with self._boxes.open(self._holder.flight_id) as box:
            try:
                while self.ending is None and not self._flight.is_over:
                    await self._ask()
                    async for step in self._until_next_beat(box):
                        yield step
            finally:
                if self.ending is not Ending.COMPLETE:
                    await self._post(Leave(self._holder.flight_id, self._inbox.replica))

    async def _ask(self) -> None:
        """Say what is lacking, and that it is still wanted."""
        silent = _now() - self._heard_at
        here = await self._post(Follow(self._holder.flight_id, self._inbox.replica, self._have))
        # A store that does not answer says nothing of the holder.
        if here == 0 or silent > self._pace.silence_seconds:
            self.ending = Ending.LOST

    async def _post(self, letter: Follow | Leave) -> int | None:
        return await self._inbox.post(self._holder.replica, letter)

    async def _until_next_beat(self, box: asyncio.Queue[Steps | Gone]) -> AsyncGenerator[Step, None]:
        beat = _now() + self._pace.beat_seconds
        while self.ending is None and (letter := await _next(box, beat)) is not None:
            self._heard_at = _now()
            if isinstance(letter, Gone):
                self.ending = Ending.LOST if letter.failed else Ending.RELEASED
                return
            self._flight.begin(CacheState.SHARED)
            if letter.at > self._have:
                continue  # Others were lost, and are asked for with the next beat.
            for step in letter.steps[self._have - letter.at :]:
                self._have += 1
                yield step
            if letter.is_last:
                self.ending = Ending.COMPLETE


async def _next(box: asyncio.Queue[Steps | Gone], until: float) -> Steps | Gone | None:
    """The next letter; None where none came in time."""
    try:
        async with asyncio.timeout_at(until):
            return await box.get()
    except TimeoutError:
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
