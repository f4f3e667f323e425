"""Revocations in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.revocation_models import Revocation, RevocationKind

# Any number will do, as long as every replica takes the same lock.
ADVISORY_LOCK = 0x7265766F6B65


class RevocationRecords:
    """Revocations within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def add(self, kind: RevocationKind, subject_ids: Sequence[str], now: datetime) -> None:
        """Store revocations, in one statement: everybody else's wait meanwhile.

        Nothing that waits for others should follow in the transaction.
        """
        await self.lock()
        rows = [
            {"kind": kind.value, "subject_id": subject_id, "revoke_time": now} for subject_id in subject_ids
        ]
        if rows:
            await self._session.execute(insert(Revocation), rows)

    async def lock(self) -> None:
        """Let no other transaction store a revocation before this one ends.

        Numbers given to two at once could become visible in the other order,
        and a reader would miss the smaller. SQLite has one writer anyhow.
        """
        await self._session.flush()
        if self._session.get_bind().dialect.name == "postgresql":
            await self._session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})

    async def last_sequence(self) -> int:
        """The number of the newest revocation; 0 where there is none."""
        return await self._session.scalar(select(func.max(Revocation.sequence))) or 0

    async def after(self, sequence: int, since: datetime, limit: int) -> Sequence[Revocation]:
        """The revocations with greater numbers that are younger than `since`, in their order."""
        query = select(Revocation).where(Revocation.sequence > sequence, Revocation.revoke_time > since)
        return (await self._session.scalars(query.order_by(Revocation.sequence).limit(limit))).all()

    async def prune(self, before: datetime) -> None:
        """Forget revocations from before this time."""
        await self._session.execute(delete(Revocation).where(Revocation.revoke_time < before))
