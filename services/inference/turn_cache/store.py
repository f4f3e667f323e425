"""The cache's store: entries that expire and may be evicted, and leases on turns that are being said.

It is never needed: whatever fails here means that turns are generated as if
there were no cache, and that is not tried again for a moment.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.inference.reading.step import Step
from services.inference.turn_cache.entry import EntryBroken, pack, unpack
from services.inference.turn_cache.holder import Holder
from services.inference.turn_cache.limits import CacheLimits
from services.inference.turn_cache.metrics import BROKEN, FAILURES, STORED_BYTES
from services.inference.turn_cache.pace import Pace

SCRIPTS = Path(__file__).with_name("scripts")
PREFIX = "parley:turns:"
PURGE_SECONDS = 10.0
SHORT_STEPS, SHORT_ENTRY_BYTES = 200, 2048
"""Packed and unpacked in about the time that a thread takes to begin."""

SCAN_COUNT = 500


class StoreAway(Exception):
    """The store does not answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn lies.

    Attributes:
        tenant_id: Whose it is.
        model: The model that says it.
        key: Names it; see `TurnRequest.key`.
    """

    tenant_id: str
    model: str
    key: str

    @property
    def _name(self) -> str:
        # The braces keep a turn's entry and lease in one slot of a cluster.
        return f"{_room(self.tenant_id, self.model)}{{{self.key}}}"

    @property
    def entry(self) -> str:
        """The key of its entry."""
        return f"{self._name}:entry"

    @property
    def lease(self) -> str:
        """The key of its lease."""
        return f"{self._name}:lease"


Claim = tuple[Step, ...] | Holder
"""The turn itself, or who is to say it: the asker, or somebody who does already."""


class TurnStore:
    """Reads and writes the cache's store. Every method raises `StoreAway` where it does not answer."""

    def __init__(self, store: Redis, limits: CacheLimits, pace: Pace) -> None:
        """Use this store; it may evict whatever it likes."""
        self._store = store
        self._limits = limits
        self._pace = pace
        self._scripts = {
            name: store.register_script((SCRIPTS / f"{name}.lua").read_text())
            for name in ("claim", "renew", "settle")
        }
        self._away_until = 0.0
        self._log = structlog.get_logger("parley.inference")

    async def epoch(self, tenant_id: str, model: str) -> bytes:
        """The epoch of a tenant's entries of a model; another once they were purged.

        It is made up where there is none, so that one that was evicted is as good as a purge.
        """
        name = _epoch(tenant_id, model)
        async with self._asking("epoch"):
            known = await self._store.get(name)
            if known is None:
                await self._store.set(name, _new_epoch(), nx=True)
                known = await self._store.get(name)
        return cast("bytes", known or _new_epoch())

    async def claim(self, place: Place, asker: Holder, lease_seconds: float, gone: Holder | None) -> Claim:
        """Look a turn up, and lease it where nobody has it.

        Args:
            place: Where it lies.
            asker: Who would say it.
            lease_seconds: For how long nobody else then begins to.
            gone: A holder that is known to be gone.
        """
        arguments: list[str | int] = [asker.text, _milliseconds(lease_seconds), gone.text if gone else ""]
        async with self._asking("claim"):
            while True:
                answer = await self._scripts["claim"](keys=[place.entry, place.lease], args=arguments)
                if answer[0] == b"yours":
                    return asker
                try:
                    return await _unpacked(answer[1]) if answer[0] == b"entry" else Holder.read(answer[1])
                except EntryBroken as error:
                    # Of another release, or of nobody that we know: it is in the way.
                    BROKEN.inc()
                    self._log.warning("cache entry not understood", error=str(error))
                    await self._store.delete(place.entry)
                except ValueError:
                    await self._store.delete(place.lease)

    async def renew(self, place: Place, holder: Holder, lease_seconds: float) -> bool:
        """Keep a lease; False where it is another's by now."""
        async with self._asking("renew"):
            answer = await self._scripts["renew"](
                keys=[place.lease], args=[holder.text, _milliseconds(lease_seconds)]
            )
        return bool(answer)

    async def settle(self, place: Place, holder: Holder, steps: list[Step] | None) -> None:
        """End a lease, with the turn that was said to its end, if it was and there is room for it."""
        entry = await _packed(steps) if steps else b""
        async with self._asking("settle"):
            if len(entry) > self._limits.entry_bytes or not await self._has_room(place, len(entry)):
                entry = b""
            life = _milliseconds(self._limits.seconds)
            await self._scripts["settle"](keys=[place.entry, place.lease], args=[holder.text, entry, life])
        STORED_BYTES.labels(place.model).inc(len(entry))

    async def _has_room(self, place: Place, size: int) -> bool:
        """Whether a tenant may add this much; what it adds is counted for as long as an entry lives."""
        if not size:
            return True
        period = int(time.time() / self._limits.seconds)
        name = f"{PREFIX}bytes:{place.tenant_id}:{period}"
        async with self._store.pipeline(transaction=False) as pipeline:
            pipeline.incrby(name, size)
            pipeline.pexpire(name, _milliseconds(self._limits.seconds))
            added, _ = await pipeline.execute()
        return int(added) <= self._limits.tenant_bytes

    async def purge(self, tenant_id: str, model: str) -> int:
        """Let nobody find a tenant's entries of a model from now on, and delete them.

        Returns:
            How many were deleted.
        """
        deleted = 0
        async with self._asking("purge", PURGE_SECONDS):
            await self._store.set(_epoch(tenant_id, model), _new_epoch())
            entries = f"{_room(tenant_id, model)}*:entry"
            async for name in self._store.scan_iter(match=entries, count=SCAN_COUNT):
                deleted += int(await self._store.unlink(name))
        return deleted

    @asynccontextmanager
    async def _asking(self, what: str, seconds: float | None = None) -> AsyncIterator[None]:
        """Bound what is asked, and leave the store alone for a moment once it did not answer.

        Raises:
            StoreAway: It does not answer.
        """
        now = asyncio.get_running_loop().time()
        if now < self._away_until:
            raise StoreAway(what)
        try:
            async with asyncio.timeout(seconds or self._pace.look_seconds):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            FAILURES.labels(what).inc()
            self._away_until = asyncio.get_running_loop().time() + self._pace.pause_seconds
            self._log.warning("cache does not answer", asked=what, error=type(error).__name__)
            raise StoreAway(what) from error


def _room(tenant_id: str, model: str) -> str:
    """What the keys of a tenant's turns of a model begin with: names may be long, and hold anything."""
    digest = hashlib.sha256(f"{tenant_id}\n{model}".encode()).hexdigest()
    return f"{PREFIX}{digest[:32]}:"


async def _packed(steps: list[Step]) -> bytes:
    """The turn as an entry; a long one must not keep the event loop."""
    return pack(steps) if len(steps) < SHORT_STEPS else await asyncio.to_thread(pack, tuple(steps))


async def _unpacked(entry: bytes) -> tuple[Step, ...]:
    """The turn in an entry; a long one must not keep the event loop.

    Raises:
        EntryBroken: It is none.
    """
    if len(entry) < SHORT_ENTRY_BYTES:
        return unpack(entry)
    return await asyncio.to_thread(unpack, entry)


def _epoch(tenant_id: str, model: str) -> str:
    return f"{_room(tenant_id, model)}epoch"


def _new_epoch() -> bytes:
    return secrets.token_hex(16).encode()


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
