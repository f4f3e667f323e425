"""Usage in the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from services.auth.store.usage_models import AMOUNTS, UsageDay, UsageEntry

WHOSE = ("tenant_id", "day", "user_id", "key_id", "model")


@dataclass(frozen=True)
class UsageSelection:
    """Which usage, and what it is summed up by.

    Attributes:
        tenant_id: Whose tenant's.
        first: The first day.
        last: The last day.
        user_id: Of this user alone; empty for all.
        key_id: Of this key alone; empty for all.
        model: Of this model alone; empty for all.
        group_by: Names of columns of `UsageDay`.
    """

    tenant_id: str
    first: date
    last: date
    user_id: str = ""
    key_id: str = ""
    model: str = ""
    group_by: tuple[str, ...] = ()

    def conditions(self) -> list[ColumnElement[bool]]:
        """Which rows of `UsageDay` it means."""
        named = [
            getattr(UsageDay, name) == value
            for name in ("user_id", "key_id", "model")
            if (value := getattr(self, name))
        ]
        return [UsageDay.tenant_id == self.tenant_id, UsageDay.day.between(self.first, self.last), *named]

    def columns(self) -> list[Any]:
        """The columns that it is summed up by."""
        return [getattr(UsageDay, name) for name in self.group_by]


class UsageRecords:
    """Usage within one transaction."""

    def __init__(self, session: AsyncSession) -> None:
        """Work in this transaction."""
        self._session = session
        postgres = session.get_bind().dialect.name == "postgresql"
        self._insert: Any = postgresql.insert if postgres else sqlite.insert

    async def add(self, entries: Sequence[Mapping[str, Any]]) -> int:
        """Count entries, each once whenever it comes.

        Args:
            entries: The columns of `UsageEntry`.

        Returns:
            How many were counted now.
        """
        unique = {entry["record_id"]: entry for entry in entries}
        # In one order, so that two replicas cannot wait for each other.
        rows = [unique[record_id] for record_id in sorted(unique)]
        # Rows are given beside the statement, which so stays the same and is compiled once.
        insert = self._insert(UsageEntry).on_conflict_do_nothing().returning(UsageEntry.record_id)
        fresh = set(await self._session.scalars(insert, rows))
        days = _by_day(row for row in rows if row["record_id"] in fresh)
        if days:
            await self._session.execute(self._adding(), days)
        return len(fresh)

    def _adding(self) -> Any:
        insert = self._insert(UsageDay)
        sums = {name: getattr(UsageDay, name) + insert.excluded[name] for name in AMOUNTS}
        return insert.on_conflict_do_update(index_elements=list(WHOSE), set_=sums)

    async def page(self, selection: UsageSelection, after: Sequence[Any], size: int) -> Sequence[Any]:
        """Sums in the order of what they are summed up by, beginning after these values if there are any."""
        columns = selection.columns()
        query = _sums(selection, columns)
        if after:
            query = query.where(tuple_(*columns) > tuple_(*after))
        if columns:
            query = query.group_by(*columns).order_by(*columns)
        rows: Sequence[Any] = (await self._session.execute(query.limit(size))).all()
        return rows

    async def total(self, selection: UsageSelection) -> Any:
        """One sum of all."""
        return (await self._session.execute(_sums(selection, []))).one()

    async def since(self, day: date) -> Sequence[Any]:
        """Everything from this day on, by tenant, user, key and model."""
        columns = [UsageDay.tenant_id, UsageDay.user_id, UsageDay.key_id, UsageDay.model]
        amounts = [func.sum(getattr(UsageDay, name)).label(name) for name in AMOUNTS]
        query = select(*columns, *amounts).where(UsageDay.day >= day).group_by(*columns)
        return (await self._session.execute(query)).all()

    async def prune(self, before: datetime) -> None:
        """Forget single records that ended before this time; the days keep what they add up to."""
        await self._session.execute(delete(UsageEntry).where(UsageEntry.end_time < before))


def _sums(selection: UsageSelection, columns: Sequence[Any]) -> Select[Any]:
    amounts = [func.coalesce(func.sum(getattr(UsageDay, name)), 0).label(name) for name in AMOUNTS]
    return select(*columns, *amounts).where(*selection.conditions())


def _by_day(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What rows add up to by day, in one order."""
    days: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        whose = {**{name: row[name] for name in WHOSE if name != "day"}, "day": row["end_time"].date()}
        place = tuple(whose[name] for name in WHOSE)
        amounts = days.setdefault(place, {**whose, **dict.fromkeys(AMOUNTS, 0)})
        for name in AMOUNTS:
            amounts[name] += row[name]
    return [days[place] for place in sorted(days)]
