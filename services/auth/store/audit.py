"""The audit's records in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.audit_models import CHAIN, AuditChainHead, AuditRow


@dataclass(frozen=True)
class AuditQuery:
    """Which records; what is empty or None matches all.

    Attributes:
        tenant_ids: The tenants whose records are wanted; None for all, those of nobody included.
        user_id: The caller.
        key_id: The key.
        request_id: The call.
        method_prefix: The method's beginning.
        decision: `AuditDecision`; 0 for any.
        start: Not before.
        end: Before.
    """

    tenant_id: str | None = None
    user_id: str = ""
    key_id: str = ""
    request_id: str = ""
    method_prefix: str = ""
    decision: int = 0
    start: datetime | None = None
    end: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same for a query."""
        found = [
            getattr(AuditRow, name) == value
            for name in ("user_id", "key_id", "request_id", "decision")
            if (value := getattr(self, name))
        ]
        if self.tenant_id is not None:
            found.append(AuditRow.tenant_id == self.tenant_id)
        if self.method_prefix:
            found.append(AuditRow.method.startswith(self.method_prefix, autoescape=True))
        if self.start is not None:
            found.append(AuditRow.event_time >= self.start)
        if self.end is not None:
            found.append(AuditRow.event_time < self.end)
        return found


class AuditRecords:
    """Records within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session

    async def head(self) -> AuditChainHead:
        """Where the chain ends."""
        return (await self._session.scalars(select(AuditChainHead).where(AuditChainHead.id == CHAIN))).one()

    async def locked_head(self) -> AuditChainHead:
        """Where the chain ends; nobody else can append until the transaction ends."""
        query = select(AuditChainHead).where(AuditChainHead.id == CHAIN).with_for_update()
        return (await self._session.scalars(query)).one()

    async def known(self, event_ids: Iterable[str]) -> set[str]:
        """Which of these events are there already."""
        query = select(AuditRow.event_id).where(AuditRow.event_id.in_(list(event_ids)))
        return set(await self._session.scalars(query))

    async def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store new records, given by their columns. The caller holds the head's lock."""
        await self._session.execute(insert(AuditRow), list(rows))

    async def newest(self, query: AuditQuery, before: int | None, size: int) -> Sequence[AuditRow]:
        """Matching records, newest first, below the sequence `before` if it is given."""
        wanted = select(AuditRow).where(*query.conditions())
        if before is not None:
            wanted = wanted.where(AuditRow.sequence < before)
        return (await self._session.scalars(wanted.order_by(AuditRow.sequence.desc()).limit(size))).all()

    async def following(self, query: AuditQuery, after: int, last: int, size: int) -> Sequence[AuditRow]:
        """Matching records, oldest first, above `after` and up to `last`."""
        wanted = select(AuditRow).where(
            *query.conditions(), AuditRow.sequence > after, AuditRow.sequence <= last
        )
        return (await self._session.scalars(wanted.order_by(AuditRow.sequence).limit(size))).all()

    async def first_since(self, time: datetime) -> int | None:
        """The oldest record that did not happen before this time."""
        query = select(func.min(AuditRow.sequence)).where(AuditRow.event_time >= time)
        return await self._session.scalar(query)

    async def hash_of(self, sequence: int) -> bytes | None:
        """The hash of a record; None where it is not there."""
        return await self._session.scalar(select(AuditRow.hash).where(AuditRow.sequence == sequence))

    async def prune(self, through: int, most: int) -> int:
        """Delete records up to a sequence, the oldest first; how many went."""
        await self._session.execute(
            update(AuditChainHead)
            .where(AuditChainHead.id == CHAIN, AuditChainHead.pruned_sequence < through)
            .values(pruned_sequence=through)
        )
        oldest = select(AuditRow.sequence).where(AuditRow.sequence <= through)
        some = oldest.order_by(AuditRow.sequence).limit(most).scalar_subquery()
        gone = await self._session.execute(
            delete(AuditRow).where(AuditRow.sequence.in_(some)).returning(AuditRow.sequence)
        )
        return len(gone.all())
