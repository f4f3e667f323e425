"""Copies of tapes in the store, where every replica can read them.

A run has a stream with an entry for each batch of events: the entry's id is the
number of its last event, its fields are the events under their numbers. Beside
it lies a hash that says whose run it is. Only the run's own replica writes, in
the background, so that the store holds up nobody; both expire by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.inference.runs import Owner
from services.inference.tape import Tape
from services.rpc.errors import DependencyUnavailable

STORE_SECONDS = 2.0
BATCH_SECONDS = 0.02
MAX_BATCH_BYTES = 256 * 1024
READ_ENTRIES = 8
# A run may be silent for long; its journal is renewed meanwhile, and outlives a replica that was lost.
RENEW_SECONDS = 10.0
LIVE_SECONDS = 60.0
RETRY_SECONDS = (0.1, 5.0)

_FAILURES = (RedisError, OSError, TimeoutError)


@dataclass(slots=True)
class _Copy:
    """A tape and how much of it is in the store.

    Attributes:
        run_id: The run.
        owner: Whose it is.
        tape: The tape.
        seconds: How long it is kept after the run's end.
        written: The last event that is there; None where that has to be looked up.
        closed: Whether all is there, and the store was told how long to keep it.
    """

    run_id: str
    owner: Owner
    tape: Tape
    seconds: float
    written: int | None = 0
    closed: bool = False


class Journal:
    """What the store has of runs."""

    def __init__(self, store: Redis) -> None:
        """Use this store, whose client's waits are bounded."""
        self._store = store
        self._log = structlog.get_logger("parley.inference")

    async def answers(self) -> bool:
        """Whether the store does."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return bool(await cast("Awaitable[Any]", self._store.ping()))
        except _FAILURES:
            return False

    async def keep(self, run_id: str, owner: Owner, tape: Tape, seconds: float) -> None:
        """Copy a tape until it is over and all of it is there, through any trouble of the store.

        Args:
            run_id: The run.
            owner: Whose it is.
            tape: What it says.
            seconds: How long it is kept after the run's end.
        """
        copy = _Copy(run_id, owner, tape, seconds)
        pause, longest = RETRY_SECONDS
        while not copy.closed:
            await tape.wait_beyond(copy.written or 0, RENEW_SECONDS)
            if not tape.over:
                await asyncio.sleep(BATCH_SECONDS)
            try:
                async with asyncio.timeout(STORE_SECONDS):
                    await self._write(copy)
                pause = RETRY_SECONDS[0]
            except _FAILURES as error:
                self._log.warning("journal not written", run_id=run_id, error=type(error).__name__)
                copy.written = None  # it may have been, and only the answer was lost
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _write(self, copy: _Copy) -> None:
        """Write what is new, drop what the tape dropped, and say how long all is kept."""
        if copy.written is None:
            copy.written = (await self._top(copy.run_id))[0]
        batch = copy.tape.after(copy.written, MAX_BATCH_BYTES)
        last = batch[-1][0] if batch else copy.written
        closing = copy.tape.over and last == copy.tape.last
        seconds = copy.seconds if closing else copy.seconds + LIVE_SECONDS
        events, about = _keys(copy.run_id)
        async with self._store.pipeline(transaction=True) as pipeline:
            pipeline.hset(about, mapping={"tenant_id": copy.owner.tenant_id, "user_id": copy.owner.user_id})
            if batch:
                pipeline.xadd(events, {str(number): event for number, event in batch}, id=f"{last}-0")
            pipeline.xtrim(events, minid=f"{copy.tape.first}-0", approximate=False)
            for key in (events, about):
                pipeline.pexpire(key, int(seconds * 1000))
            fresh, *_ = await pipeline.execute()
        if fresh and copy.written:
            # The store lost what it had: all that the tape still has is written again.
            await self._store.delete(events)
            copy.written = 0
            return
        copy.written, copy.closed = last, closing

    async def owner(self, run_id: str) -> Owner | None:
        """Whose run it is; None where nothing is kept of it.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        _, about = _keys(run_id)
        async with self._asking():
            found = await cast("Awaitable[Any]", self._store.hmget(about, ["tenant_id", "user_id"]))
        tenant_id, user_id = found
        return None if tenant_id is None else Owner(tenant_id.decode(), user_id.decode())

    async def after(self, run_id: str, sequence: int) -> list[tuple[int, bytes]]:
        """The next events after this one and their numbers, in order; a hole before them is where some went.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        events, _ = _keys(run_id)
        async with self._asking():
            entries: Any = await self._store.xrange(events, min=f"({sequence}-0", count=READ_ENTRIES)
        numbered = [event for _, fields in entries for event in _numbered(fields)]
        return [(number, event) for number, event in numbered if number > sequence]

    async def last(self, run_id: str) -> tuple[int, bytes]:
        """The last event and its number; 0 and nothing before any.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        async with self._asking():
            return await self._top(run_id)

    async def _top(self, run_id: str) -> tuple[int, bytes]:
        entries: Any = await self._store.xrevrange(_keys(run_id)[0], count=1)
        return _numbered(entries[0][1])[-1] if entries else (0, b"")

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                yield
        except _FAILURES as error:
            self._log.warning("journal not read", error=type(error).__name__)
            raise DependencyUnavailable("store") from error


def _keys(run_id: str) -> tuple[str, str]:
    """Where a run's events lie, and what is known of it; in one slot of a cluster."""
    prefix = f"parley:inference:{{{run_id}}}:"
    return f"{prefix}events", f"{prefix}run"


def _numbered(fields: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    return [(int(number), event) for number, event in fields.items()]
