"""Copies of tapes in the store, where every replica can read them.

A run has a stream with an entry for each batch of events: the entry's id is the
number of its last event, its fields are the events under their numbers. Beside
it lie a hash that says whose run it is, what was asked and who writes, and the
tokens of the turn that it is in. Only the run's own replica writes, in the
background, so that the store holds up nobody; all three expire by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.inference.resumption.tape import Tape
from services.inference.runs.registry import Owner
from services.inference.runs.token_trail import TokenTrail, unpack
from services.rpc.errors import DependencyUnavailable

STORE_SECONDS = 2.0
BATCH_SECONDS = 0.02
MAX_BATCH_BYTES = 256 * 1024
# Lua takes a few thousand arguments, two an event.
MAX_BATCH_EVENTS = 1000
READ_ENTRIES = 8
# A run may be silent for long; its journal is renewed meanwhile, and outlives a replica that was lost.
RENEW_SECONDS = 10.0
LIVE_SECONDS = 60.0
RETRY_SECONDS = (0.1, 5.0)

HEIR_SECONDS = 5.0
"""An heir has so long before others may miss it, too: what they missed may have been the replica before."""

MOST_TAKEOVERS = 2
"""A run whose replicas are lost one after the other may be why."""

_FAILURES = (RedisError, OSError, TimeoutError)
_SCRIPTS = Path(__file__).with_name("scripts")


class TakenOver(Exception):
    """Another replica has the run."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied to the journal.

    Attributes:
        run_id: The run.
        owner: Whose it is.
        writer: Who writes: no two replicas under one name.
        request: What was asked for, as it came.
        tape: What the run says.
        trail: The tokens of its turn.
        seconds: How long it is kept after the run's end.
        inherited: The last event that was there when the run was taken over.
    """

    run_id: str
    owner: Owner
    writer: str
    request: bytes
    tape: Tape
    trail: TokenTrail
    seconds: float
    inherited: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What the journal knows of a run whose replica is lost.

    Attributes:
        writer: Who wrote it.
        request: What was asked for.
        events: All that it said, from the first event on, without a gap.
        turn: The turn, counted from 0, that the tokens are of.
        token_ids: Its tokens so far.
    """

    writer: str
    request: bytes
    events: tuple[bytes, ...]
    turn: int
    token_ids: tuple[int, ...]


@dataclass(slots=True)
class _Copy:
    """How much of a source is in the store.

    Attributes:
        source: The source.
        written: The last event that is there; None where that has to be looked up.
        mark: How far its tokens are there.
        closed: Whether all is there, and the store was told how long to keep it.
    """

    source: Source
    written: int | None = 0
    mark: tuple[int, int] = (-1, 0)
    closed: bool = False


class Journal:
    """What the store has of runs."""

    def __init__(self, store: Redis) -> None:
        """Use this store, whose client's waits are bounded."""
        self._store = store
        self._write_run, self._claim_run = (
            store.register_script((_SCRIPTS / f"journal_{name}.lua").read_text())
            for name in ("write", "claim")
        )
        self._log = structlog.get_logger("parley.inference")

    async def answers(self) -> bool:
        """Whether the store does."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                return bool(await cast("Awaitable[Any]", self._store.ping()))
        except _FAILURES:
            return False

    async def keep(self, source: Source) -> None:
        """Copy a tape until it is over and all of it is there, through any trouble of the store.

        Raises:
            TakenOver: Another replica goes on with the run.
        """
        tape = source.tape
        copy = _Copy(source, written=source.inherited)
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
                self._log.warning("journal not written", run_id=source.run_id, error=type(error).__name__)
                copy.written = None  # it may have been, and only the answer was lost
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _write(self, copy: _Copy) -> None:
        """Write what is new, drop what the tape dropped, and say how long all is kept.

        Raises:
            TakenOver: Another replica goes on with the run.
        """
        source, tape = copy.source, copy.source.tape
        if copy.written is None:
            copy.written = (await self._top(source.run_id))[0]
        batch = tape.after(copy.written, MAX_BATCH_BYTES)[:MAX_BATCH_EVENTS]
        last = batch[-1][0] if batch else copy.written
        closing = tape.over and last == tape.last
        seconds = source.seconds if closing else source.seconds + LIVE_SECONDS
        mark, stretch = source.trail.mark, source.trail.since(copy.mark)
        about = source.writer, source.owner.tenant_id, source.owner.user_id, source.request
        place = int(seconds * 1000), tape.first, last, stretch.offset, stretch.packed
        events = (part for numbered in batch for part in numbered)
        found = await self._write_run(keys=_keys(source.run_id), args=[*about, *place, *events])
        if found < 0:
            raise TakenOver(source.run_id)
        if found and copy.written:
            # The store lost what it had: all that the tape still has is written again.
            await self._store.delete(_keys(source.run_id)[0])
            copy.written, copy.mark = 0, (-1, 0)
            return
        copy.written, copy.mark, copy.closed = last, mark, closing

    async def recall(self, run_id: str) -> Memory | None:
        """What is known of a run, to go on with it; None where its beginning or its request is not.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        _, about, tokens = _keys(run_id)
        async with self._asking():
            found = await cast("Awaitable[Any]", self._store.hmget(about, ["holder", "request"]))
            packed = await cast("Awaitable[Any]", self._store.get(tokens))
        if None in found or not found[1]:
            return None
        said: list[bytes] = []
        while batch := await self.after(run_id, len(said)):
            for number, event in batch:
                if number != len(said) + 1:
                    return None
                said.append(event)
        return Memory(found[0].decode(), found[1], tuple(said), *unpack(packed or b""))

    async def claim(self, run_id: str, writer: str, heir: str) -> bool:
        """Make an heir the writer of a run.

        Args:
            run_id: The run.
            writer: Whose it was when it was recalled.
            heir: Whose it is to be.

        Returns:
            False where it was taken over too often.

        Raises:
            TakenOver: Somebody else was faster.
            DependencyUnavailable: The store does not answer.
        """
        async with self._asking():
            often = MOST_TAKEOVERS, int(HEIR_SECONDS * 1000)
            claimed = await self._claim_run(keys=[_keys(run_id)[1]], args=[writer, heir, *often])
        if not claimed:
            raise TakenOver(run_id)
        return bool(claimed > 0)

    async def owner(self, run_id: str) -> Owner | None:
        """Whose run it is; None where nothing is kept of it.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        _, about, _ = _keys(run_id)
        async with self._asking():
            found = await cast("Awaitable[Any]", self._store.hmget(about, ["tenant_id", "user_id"]))
        tenant_id, user_id = found
        return None if tenant_id is None else Owner(tenant_id.decode(), user_id.decode())

    async def after(self, run_id: str, sequence: int) -> list[tuple[int, bytes]]:
        """The next events after this one and their numbers, in order; a hole before them is where some went.

        Raises:
            DependencyUnavailable: The store does not answer.
        """
        async with self._asking():
            events = _keys(run_id)[0]
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


def _keys(run_id: str) -> tuple[str, str, str]:
    """Where a run's events lie, what is known of it, and its tokens; in one slot of a cluster."""
    prefix = f"parley:inference:{{{run_id}}}:"
    return f"{prefix}events", f"{prefix}run", f"{prefix}tokens"


def _numbered(fields: dict[bytes, bytes]) -> list[tuple[int, bytes]]:
    return [(int(number), event) for number, event in fields.items()]
