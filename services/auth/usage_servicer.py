"""Serves `parley.auth.v1.UsageService`."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any

from google.api import httpbody_pb2

from parley.auth.v1 import usage_service_pb2 as pb2
from parley.auth.v1.usage_service_pb2_grpc import UsageServiceServicer
from services.auth.clock import Clock
from services.auth.delegation import require_root
from services.auth.store.usage import UsageRecords, UsageSelection
from services.auth.store.usage_models import AMOUNTS
from services.rpc.call import current_principal
from services.rpc.errors import FieldViolation, InvalidRequest, PageTokenInvalid
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens
from services.sql.database import Database

READ = "auth.usage.read"
DEFAULT_DAYS = timedelta(days=29)
# Before it there are not so many days.
FIRST_LAST_DAY = date.min + DEFAULT_DAYS
WATCHED_SUMS = 1000
DEFAULT_INTERVAL_SECONDS = 2
EXPORT_BATCH = 1000
CSV_TYPE = "text/csv; charset=utf-8"
# Spreadsheets take a cell that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

COLUMNS = {
    pb2.USAGE_DIMENSION_DAY: "day",
    pb2.USAGE_DIMENSION_USER: "user_id",
    pb2.USAGE_DIMENSION_KEY: "key_id",
    pb2.USAGE_DIMENSION_MODEL: "model",
}


class UsageServicer(UsageServiceServicer):
    """Sums up what was counted, for those who may see it."""

    def __init__(self, database: Database, pages: PageTokens, clock: Clock, stopping: asyncio.Event) -> None:
        """Read this database; streams that would go on for ever end when it is `stopping`."""
        self._database = database
        self._pages = pages
        self._clock = clock
        self._stopping = stopping

    async def QueryUsage(self, request: pb2.QueryUsageRequest, context: Context) -> pb2.QueryUsageResponse:
        """Give a page of sums."""
        selection = await self._selection(request.query)
        listing = Listing(self._pages, request, current_principal())
        after = _values(selection, listing.after)
        async with self._database.reading() as session:
            records = UsageRecords(session)
            rows = await records.page(selection, after, listing.fetched)
            total = await records.total(selection)
        shown, token = listing.cut(rows, lambda row: _position(selection, row))
        sums = [_message(row) for row in shown]
        return pb2.QueryUsageResponse(sums=sums, total=_message(total), next_page_token=token)

    async def WatchUsage(
        self, request: pb2.WatchUsageRequest, context: Context
    ) -> AsyncIterator[pb2.WatchUsageResponse]:
        """Give the sums as they are, and again whenever they have changed."""
        interval = request.interval_seconds or DEFAULT_INTERVAL_SECONDS
        before: pb2.WatchUsageResponse | None = None
        while not self._stopping.is_set():
            selection = await self._selection(request.query)  # days begin and end meanwhile
            async with self._database.reading() as session:
                records = UsageRecords(session)
                rows = await records.page(selection, (), WATCHED_SUMS)
                total = _message(await records.total(selection))
            now = pb2.WatchUsageResponse(sums=[_message(row) for row in rows], total=total)
            if now != before:
                yield now
                before = now
            await self._pause(interval)

    async def ExportUsage(
        self, request: pb2.ExportUsageRequest, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Give all sums as CSV."""
        selection = await self._selection(request.query)
        yield httpbody_pb2.HttpBody(content_type=CSV_TYPE, data=_lines([(*selection.group_by, *AMOUNTS)]))
        after: Sequence[Any] = ()
        more = True
        while more:
            async with self._database.reading() as session:
                rows = await UsageRecords(session).page(selection, after, EXPORT_BATCH)
            if rows:
                yield httpbody_pb2.HttpBody(data=_lines(rows))
                after = rows[-1][: len(selection.group_by)]
            more = bool(selection.group_by) and len(rows) == EXPORT_BATCH

    async def _selection(self, query: pb2.UsageQuery) -> UsageSelection:
        """What of the query the caller may see.

        Raises:
            PermissionMissing: It reaches beyond the caller's own.
            RootTenantOnly: It reaches beyond the caller's tenant.
            InvalidRequest: A day is none, or the last comes before the first.
        """
        caller = current_principal()
        tenant_id = query.tenant_id or caller.tenant_id
        wide = query.tenant_wide or tenant_id != caller.tenant_id
        if wide or query.user_id not in ("", caller.user_id):
            caller.require(READ)
        if tenant_id != caller.tenant_id:
            async with self._database.reading() as session:
                await require_root(session, caller)
        last = _day("query.last_day", query.last_day) or self._clock().date()
        first = _day("query.first_day", query.first_day) or max(last, FIRST_LAST_DAY) - DEFAULT_DAYS
        if first > last:
            raise _invalid("query.first_day", "must not be after last_day")
        return UsageSelection(
            tenant_id=tenant_id,
            first=first,
            last=last,
            user_id=query.user_id or ("" if wide else caller.user_id),
            key_id=query.key_id,
            model=query.model,
            group_by=tuple(COLUMNS[dimension] for dimension in query.group_by),
        )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _day(field: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _invalid(field, "must be a day, as 2026-11-23") from None


def _invalid(field: str, description: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {description}", violations=[FieldViolation(field, description)])


def _position(selection: UsageSelection, row: Any) -> str:
    """Where a sum stands among the others."""
    return json.dumps([str(value) for value in row[: len(selection.group_by)]])


def _values(selection: UsageSelection, position: str) -> list[Any]:
    """The values of a position; none for the beginning.

    Raises:
        PageTokenInvalid: It is no position of this selection.
    """
    if not position:
        return []
    texts = json.loads(position)
    if len(texts) != len(selection.group_by):
        raise PageTokenInvalid
    return [
        date.fromisoformat(text) if name == "day" else text
        for name, text in zip(selection.group_by, texts, strict=True)
    ]


def _message(row: Any) -> pb2.UsageSum:
    fields = row._mapping
    message = pb2.UsageSum(**{name: int(fields[name]) for name in AMOUNTS})  # type: ignore[arg-type]
    for name in COLUMNS.values():
        if name in fields:
            setattr(message, name, str(fields[name]))
    return message


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    """Rows as CSV (RFC 4180)."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
