"""Failed logins in the database, counted over all replicas."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.models import LoginAttempt


class AttemptRecords:
    """Counters within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def locked(self, subjects: Sequence[bytes], now: datetime) -> list[LoginAttempt]:
        """The counters of these subjects, made where missing, locked until the transaction ends.

        They are locked in one order, so that two logins cannot wait for each other.
        """
        dialect = self._session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        rows = [{"subject": subject, "failures": 0, "last_time": now} for subject in sorted(subjects)]
        await self._session.execute(insert(LoginAttempt).values(rows).on_conflict_do_nothing())
        query = select(LoginAttempt).where(LoginAttempt.subject.in_(subjects))
        return list(await self._session.scalars(query.order_by(LoginAttempt.subject).with_for_update()))

    async def prune(self, before: datetime) -> None:
        """Forget subjects whose last failure was before this time."""
        await self._session.execute(delete(LoginAttempt).where(LoginAttempt.last_time < before))
