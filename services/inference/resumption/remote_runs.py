"""Reads a run of another replica from its journal, for as long as that replica has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress

from parley.inference.v1 import chat_pb2
from services.inference.errors import RunNotFound
from services.inference.replicas.mailbox import Mailbox
from services.inference.resumption.errors import EventsGone, RunLost
from services.inference.resumption.journal import Journal, TakenOver
from services.inference.resumption.kept_runs import Reader
from services.inference.runs.events import Finished, FinishReason
from services.inference.runs.registry import Owner
from services.inference.translation import events as translate_events
from services.rpc.errors import DependencyUnavailable, Draining

ATTEND_SECONDS = 2.0
MISSED_SECONDS = 0.5
# A replica that is busy for a moment may miss a few letters; taken for lost, it would end its run.
MOST_MISSED = 4
PAUSE_SECONDS = (0.02, 0.2)
FIND_SECONDS = 5.0

Inherit = Callable[[str, Owner], Awaitable[Reader | None]]


class RemoteReader:
    """One reader of a run that runs, or ran, elsewhere."""

    def __init__(
        self,
        run_id: str,
        owner: Owner,
        journal: Journal,
        mailbox: Mailbox,
        stopping: asyncio.Event,
        inherit: Inherit,
    ) -> None:
        """Read a run.

        Args:
            run_id: The run.
            owner: Who asks.
            journal: Where its events are.
            mailbox: Reaches the replica that has it.
            stopping: Set when this replica stops.
            inherit: Goes on with the run here if its replica is lost.
        """
        self._run_id = run_id
        self._owner = owner
        self._journal = journal
        self._mailbox = mailbox
        self._stopping = stopping
        self._inherit = inherit
        self._heir: Reader | None = None
        self._missed = 0
        self._attend_at = 0.0

    def leave(self) -> None:
        """Read no more; its replica notices that nothing is heard of this reader."""
        if self._heir is not None:
            self._heir.leave()

    async def events(self, after: int) -> AsyncGenerator[bytes, None]:
        """The events after this one, as they come.

        Raises:
            RunNotFound: There is no such run of this owner.
            EventsGone: The next event is kept no longer.
            DependencyUnavailable: The store does not answer.
            Draining: This replica stops.
        """
        await self._find()
        if await self._is_over(after):
            return
        place, pause = after, PAUSE_SECONDS[0]
        while True:
            # In this order: who has the run writes all of it before it lets go of it.
            lost = not await self._is_there()
            batch = await self._journal.after(self._run_id, place)
            for number, event in batch:
                if number > place + 1:
                    raise EventsGone(self._run_id, number)
                yield event
                place = number
                if _finishes(event):
                    return
            if not batch and lost:
                # Who asks after the last event may have done so before that was written.
                if await self._is_over(place):
                    return
                if await self._is_succeeded():
                    continue
                async for event in self._rest(place):
                    yield event
                return
            pause = PAUSE_SECONDS[0] if batch else min(pause * 2, PAUSE_SECONDS[1])
            await self._pause(pause)

    async def _find(self) -> None:
        """Go on only where the owner has the run. One that has just begun may not be in the journal yet.

        Raises:
            RunNotFound: The owner has not.
            DependencyUnavailable: It runs, and its replica cannot write.
        """
        give_up = asyncio.get_running_loop().time() + FIND_SECONDS
        while (owner := await self._journal.owner(self._run_id)) is None and await self._is_there():
            if asyncio.get_running_loop().time() > give_up:
                raise DependencyUnavailable("store")
            await self._pause(PAUSE_SECONDS[0])
        if owner != self._owner:
            raise RunNotFound(self._run_id)

    async def _is_there(self) -> bool:
        """Whether a replica has the run, as far as is known; it is told now and then of this reader."""
        now = asyncio.get_running_loop().time()
        if now >= self._attend_at:
            there = await self._mailbox.attend(self._run_id, self._owner)
            self._missed = 0 if there else self._missed + 1
            self._attend_at = now + (ATTEND_SECONDS if there else MISSED_SECONDS)
        return self._missed < MOST_MISSED

    async def _is_succeeded(self) -> bool:
        """Whether another replica goes on with the run; if none does, this one does if it can."""
        try:
            self._heir = await self._inherit(self._run_id, self._owner)
        except TakenOver:
            self._missed, self._attend_at = 0, 0.0
            return True
        return False

    async def _rest(self, place: int) -> AsyncGenerator[bytes, None]:
        """What there is after this event of a run that its replica says no longer."""
        if self._heir is None:
            yield await self._farewell(place + 1)
            return
        async with aclosing(self._heir.events(place)) as events:
            async for event in events:
                yield event

    async def _is_over(self, place: int) -> bool:
        """Whether the run's last event is there, and not after this one."""
        last, event = await self._journal.last(self._run_id)
        return last <= place and _finishes(event)

    async def _farewell(self, number: int) -> bytes:
        """The last event of a run that nobody has any more.

        Raises:
            RunNotFound: Its journal is over, too.
        """
        if await self._journal.owner(self._run_id) is None:
            raise RunNotFound(self._run_id)
        finished = Finished(FinishReason.ERROR, RunLost(self._run_id).to_status())
        return translate_events.chat_response(number, self._run_id, finished).SerializeToString()

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
            raise Draining


def _finishes(event: bytes) -> bool:
    return chat_pb2.ChatResponse.FromString(event).event.HasField("finished")
