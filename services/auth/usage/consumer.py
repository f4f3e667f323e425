"""Moves usage from the store's stream into the database, each record once.

A record is acknowledged after the commit that counts it. Whatever happens in
between, it comes again, and its id is known then.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import Any

import protovalidate
import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy.exc import SQLAlchemyError
from ulid import ULID

from parley.auth.v1.usage_pb2 import UsageRecord
from services.auth.store.usage import UsageRecords
from services.auth.store.usage_models import AMOUNTS
from services.ledger.ledger import USAGE
from services.rpc.errors import ServiceError
from services.sql.database import Database

GROUP = "auth"
BATCH = 500
BLOCK_MS = 1000
GATHER_SECONDS = 0.2
"""Between two batches that are not full: counting one record costs what counting hundreds at once does."""

# A replica that took records and died gives them back after this.
ABANDONED_MS = 30_000
CLAIM_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
MOST = 2**63 - 1

COUNTED = Counter("parley_usage_records_total", "Records of usage that were counted.")
REFUSED = Counter("parley_usage_refused_total", "Entries of the usage stream that are no records.")

log = structlog.get_logger("parley.usage")

Entries = list[tuple[bytes, Mapping[bytes, bytes]]]


class UsageConsumer:
    """One of a group: replicas share the work."""

    def __init__(self, store: Redis, database: Database, *, stream: str = USAGE) -> None:
        """Read this store's stream into this database."""
        self._store = store
        self._database = database
        self._stream = stream
        self._name = f"{socket.gethostname()}-{ULID()}"
        self._validator = protovalidate.Validator()
        self._claimed = 0.0
        self._taken: Entries = []

    async def run(self) -> None:
        """Do it until it is cancelled; whatever is away is waited for."""
        pause, joined = FIRST_PAUSE_SECONDS, False
        while True:
            try:
                if not joined:
                    await self._join()
                    joined = True
                if await self.step() < BATCH:
                    await asyncio.sleep(GATHER_SECONDS)
                pause = FIRST_PAUSE_SECONDS
            except (RedisError, ServiceError, SQLAlchemyError, OSError) as error:
                joined = joined and not isinstance(
                    error, ResponseError
                )  # the group may be gone with its store
                log.warning("usage waits", error=type(error).__name__, retry_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def step(self, block_ms: int = BLOCK_MS) -> int:
        """Take one batch: what could not be counted before, what others abandoned, or what is new.

        Returns:
            How many records were counted.

        Raises:
            RedisError: The store does not answer.
            DependencyUnavailable: The database does not.
        """
        self._taken = self._taken or await self._abandoned() or await self._fresh(block_ms)
        counted = await self._count(self._taken) if self._taken else 0
        self._taken = []
        return counted

    async def _join(self) -> None:
        """Make the group, if nobody has: it begins with the oldest record there is."""
        try:
            await self._store.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _abandoned(self) -> Entries:
        """What a replica took and never acknowledged; looked for now and then."""
        now = asyncio.get_running_loop().time()
        if self._claimed and now - self._claimed < CLAIM_SECONDS:
            return []
        answer = await self._store.xautoclaim(
            self._stream, GROUP, self._name, min_idle_time=ABANDONED_MS, count=BATCH
        )
        if not answer[1]:
            self._claimed = now
        return list(answer[1])

    async def _fresh(self, block_ms: int) -> Entries:
        answer = await self._store.xreadgroup(
            GROUP, self._name, {self._stream: ">"}, count=BATCH, block=block_ms or None
        )
        streams = answer.values() if isinstance(answer, dict) else (part[1] for part in answer or ())
        return [entry for part in streams for entry in _flat(part)]

    async def _count(self, entries: Entries) -> int:
        rows = [row for _, fields in entries if (row := self._row(fields)) is not None]
        counted = 0
        if rows:
            async with self._database.writing() as session:
                counted = await UsageRecords(session).add(rows)
        await self._store.xack(self._stream, GROUP, *(entry for entry, _ in entries))
        COUNTED.inc(counted)
        return counted

    def _row(self, fields: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
        """The columns of an entry; None for one that is no record, or was trimmed meanwhile."""
        try:
            record = UsageRecord.FromString((fields or {})[b"record"])
            self._validator.validate(record)
            ended = record.end_time.ToDatetime(UTC)
        except (KeyError, DecodeError, ValueError, OverflowError, protovalidate.ValidationError) as error:
            REFUSED.inc()
            log.error("an entry of the usage stream is no record", error=type(error).__name__)  # noqa: TRY400
            return None
        amounts = {name: min(getattr(record, name), MOST) for name in AMOUNTS}
        whose = {name: getattr(record, name) for name in ("record_id", "tenant_id", "user_id", "key_id")}
        # PostgreSQL's text cannot hold NUL.
        model = record.model.replace("\0", "")
        return {**whose, "model": model, "end_time": ended, **amounts}


def _flat(entries: Iterable[Any]) -> Iterable[Any]:
    """Entries as pairs; the newer protocol wraps them once more."""
    for entry in entries:
        if entry and isinstance(entry[0], list | tuple):
            yield from entry
        else:
            yield entry
