"""Revocations: what ends access tokens before their time, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from parley.auth.v1 import revocation_service_pb2 as pb2
from services.auth.clock import Clock
from services.auth.store.revocation_models import Revocation as Row
from services.auth.store.revocation_models import RevocationKind
from services.auth.store.revocations import RevocationRecords
from services.rpc.errors import ServiceError
from services.rpc.revocations import Revocation, Revocations, Subject
from services.sql.database import Database

# A revocation by any replica takes effect everywhere within one second; this is the first part of it.
POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
BATCH = 500
# How far the clocks of replicas may be apart.
CLOCK_SKEW = timedelta(seconds=30)

KINDS: Mapping[RevocationKind, pb2.RevocationKind.ValueType] = {
    RevocationKind.KEY: pb2.REVOCATION_KIND_KEY,
    RevocationKind.SESSION: pb2.REVOCATION_KIND_SESSION,
    RevocationKind.USER: pb2.REVOCATION_KIND_USER,
    RevocationKind.TENANT: pb2.REVOCATION_KIND_TENANT,
}

log = structlog.get_logger("parley.auth")


async def revoke(
    session: AsyncSession, *, kind: RevocationKind, subject_ids: Sequence[str], now: datetime
) -> None:
    """Make every service refuse the tokens of subjects within a second of the commit.

    Call it last in the transaction that ends the subjects: either both are
    stored or neither is.

    Args:
        session: The transaction.
        kind: What the subjects are.
        subject_ids: The ids of the keys, sessions, users or tenants.
        now: Tokens issued until then are refused; later ones, made after a
            disabled user was enabled again, are good.
    """
    await RevocationRecords(session).add(kind, subject_ids, now)


class RevocationLog:
    """The revocations of all replicas, as they stand in the database.

    Whoever follows the log reads the rows again, so that a slow reader costs no
    memory.

    Attributes:
        known: The revocations as this process applies them itself.
    """

    def __init__(self, database: Database, clock: Clock, token_life: timedelta) -> None:
        """Follow the table.

        Args:
            database: Where it is.
            clock: Tells which revocations still matter.
            token_life: The longest life of a token.
        """
        self.known = Revocations(clock=clock)
        self._database = database
        self._clock = clock
        self._keep = token_life + CLOCK_SKEW
        self._last = 0
        self._polls = 0
        self._polled = asyncio.Condition()

    async def begin(self) -> None:
        """Read what there is.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        await self._poll()
        self.known.synchronize()

    async def run(self) -> None:
        """Follow the table for ever, through any trouble of the database."""
        while True:
            try:
                await self._poll()
            except (ServiceError, SQLAlchemyError, OSError) as error:
                log.warning("revocations cannot be read", error=str(error))
            await asyncio.sleep(POLL_SECONDS)

    async def _poll(self) -> None:
        """Take in what is new, and let those who follow look."""
        while rows := await self._after(self._last):
            for row in rows:
                self.known.add(self._read(row))
            self._last = rows[-1].sequence
        async with self._polled:
            self._polls += 1
            self._polled.notify_all()

    async def _after(self, sequence: int) -> Sequence[Row]:
        async with self._database.reading() as session:
            return await RevocationRecords(session).after(sequence, self._clock() - self._keep, BATCH)

    async def follow(self) -> AsyncGenerator[Revocation | None, None]:
        """Every revocation that matters, old and new.

        None stands for "that was all so far": once after the old ones, and then
        whenever there was nothing for `HEARTBEAT_SECONDS` though the database
        was asked.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        seen = 0
        while True:
            newest = self._last
            while rows := await self._after(seen):
                for row in rows:
                    yield self._read(row)
                seen = rows[-1].sequence
            seen = max(seen, newest)  # what lies between mattered no longer
            yield None
            await self._news(seen)

    async def _news(self, seen: int) -> None:
        """Wait for a number greater than this, or for a successful poll after the heartbeat's time."""
        due = asyncio.get_running_loop().time() + HEARTBEAT_SECONDS
        async with self._polled:
            polls = self._polls
            await self._polled.wait_for(
                lambda: (
                    self._last > seen or (self._polls > polls and asyncio.get_running_loop().time() >= due)
                )
            )

    def _read(self, row: Row) -> Revocation:
        subject = Subject(KINDS[RevocationKind(row.kind)], row.subject_id)
        return Revocation(subject, row.revoke_time, row.revoke_time + self._keep)
