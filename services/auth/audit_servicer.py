"""Serves `parley.auth.v1.AuditService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from parley.auth.v1 import audit_pb2
from parley.auth.v1 import audit_service_pb2 as pb2
from parley.auth.v1.audit_service_pb2_grpc import AuditServiceServicer
from services.auth.audit.body import Body
from services.auth.audit.chain import AuditChain
from services.auth.audit.checkpoints import CheckpointFile
from services.auth.audit.proof import Fault, Proof
from services.auth.audit.verification import verify
from services.auth.delegation import is_root, require_root
from services.auth.errors import RootTenantOnly
from services.auth.store.audit import AuditQuery, AuditRecords
from services.auth.store.audit_models import AuditRow
from services.rpc.call import current_call, current_principal
from services.rpc.interceptors.around import Context
from services.rpc.listing import Listing
from services.rpc.pages import PageTokens
from services.sql.database import Database

SHOWN_FAULTS = 100
WATCH_BATCH = 100
EXPORT_BATCH = 500
# Other replicas write too, and tell nobody.
LOOK_SECONDS = 0.5


class AuditServicer(AuditServiceServicer):
    """Takes other services' events, and shows the chain to those who may see it."""

    def __init__(
        self,
        database: Database,
        chain: AuditChain,
        checkpoints: CheckpointFile,
        pages: PageTokens,
        stopping: asyncio.Event,
    ) -> None:
        """Work with these parts; streams that would go on for ever end when it is `stopping`."""
        self._database = database
        self._chain = chain
        self._checkpoints = checkpoints
        self._pages = pages
        self._stopping = stopping

    async def RecordEvents(
        self, request: pb2.RecordEventsRequest, context: Context
    ) -> pb2.RecordEventsResponse:
        """Append a batch; it is written when this answers."""
        await self._chain.append(current_call().peer, request.events)
        return pb2.RecordEventsResponse()

    async def ListAuditRecords(
        self, request: pb2.ListAuditRecordsRequest, context: Context
    ) -> pb2.ListAuditRecordsResponse:
        """List records, newest first."""
        listing = Listing(self._pages, request, current_principal())
        query = await self._query(request.filter)
        before = int(listing.after) if listing.after else None
        async with self._database.reading() as session:
            rows = await AuditRecords(session).newest(query, before, listing.fetched)
        shown, token = listing.cut(rows, lambda row: str(row.sequence))
        return pb2.ListAuditRecordsResponse(records=list(_messages(shown)), next_page_token=token)

    async def WatchAuditRecords(
        self, request: pb2.WatchAuditRecordsRequest, context: Context
    ) -> AsyncIterator[pb2.WatchAuditRecordsResponse]:
        """Follow the chain. Who reads slowly falls behind and misses nothing."""
        query = await self._query(request.filter)
        after = request.after_sequence if request.HasField("after_sequence") else await self._head()
        while not self._stopping.is_set():
            rows, after = await self._next(query, after, WATCH_BATCH)
            if rows:
                yield pb2.WatchAuditRecordsResponse(records=list(_messages(rows)))
            elif after >= await self._head():
                await self._chain.wait(LOOK_SECONDS)

    async def ExportAuditRecords(
        self, request: pb2.ExportAuditRecordsRequest, context: Context
    ) -> AsyncIterator[pb2.ExportAuditRecordsResponse]:
        """Give what matches, up to the record that is the last when it begins."""
        query = await self._query(request.filter)
        after, last = 0, await self._head()
        while after < last:
            rows, after = await self._next(query, after, EXPORT_BATCH, last)
            if rows:
                yield pb2.ExportAuditRecordsResponse(records=list(_messages(rows)))

    async def VerifyAudit(
        self, request: pb2.VerifyAuditRequest, context: Context
    ) -> AsyncIterator[pb2.VerifyAuditResponse]:
        """Prove the chain."""
        async with self._database.reading() as session:
            await require_root(session, current_principal())
        faults = 0
        async for proof, found in verify(self._database, self._checkpoints):
            for fault in found[: max(0, SHOWN_FAULTS - faults)]:
                yield pb2.VerifyAuditResponse(fault=_fault(fault))
            faults += len(found)
            progress = pb2.AuditProgress(records=proof.records, sequence=proof.last)
            yield pb2.VerifyAuditResponse(progress=progress)
        yield pb2.VerifyAuditResponse(summary=_summary(proof, faults))

    async def _query(self, wanted: pb2.AuditFilter) -> AuditQuery:
        """What the caller may see of what is wanted.

        Raises:
            RootTenantOnly: The caller names another tenant.
        """
        caller = current_principal()
        async with self._database.reading() as session:
            root = await is_root(session, caller)
        if not root and wanted.tenant_id not in ("", caller.tenant_id):
            raise RootTenantOnly
        everyone = root and not wanted.tenant_id
        return AuditQuery(
            tenant_id=None if everyone else wanted.tenant_id or caller.tenant_id,
            user_id=wanted.user_id,
            key_id=wanted.key_id,
            request_id=wanted.request_id,
            method_prefix=wanted.method_prefix,
            decision=wanted.decision,
            start=_time(wanted.start_time) if wanted.HasField("start_time") else None,
            end=_time(wanted.end_time) if wanted.HasField("end_time") else None,
        )

    async def _head(self) -> int:
        """The chain's last sequence."""
        async with self._database.reading() as session:
            return (await AuditRecords(session).head()).sequence

    async def _next(
        self, query: AuditQuery, after: int, size: int, last: int | None = None
    ) -> tuple[Sequence[AuditRow], int]:
        """The next matching records, and how far that looked."""
        last = await self._head() if last is None else last
        async with self._database.reading() as session:
            rows = await AuditRecords(session).following(query, after, last, size)
        return rows, rows[-1].sequence if len(rows) == size else max(after, last)


def _messages(rows: Sequence[AuditRow]) -> Iterator[audit_pb2.AuditRecord]:
    for row in rows:
        try:
            body = Body.parse(row.body)
        except ValueError:
            body = Body(row.sequence, "", audit_pb2.AuditEvent())  # `verify` says what is wrong with it
        yield audit_pb2.AuditRecord(
            sequence=row.sequence,
            service=body.service,
            event=body.event,
            body=row.body,
            previous_hash=row.previous_hash.hex(),
            hash=row.hash.hex(),
        )


def _fault(fault: Fault) -> pb2.AuditFault:
    return pb2.AuditFault(
        kind=pb2.AuditFault.Kind.Value(f"KIND_{fault.kind.value}"),
        sequence=fault.first,
        last_sequence=fault.last,
        message=fault.message,
    )


def _summary(proof: Proof, faults: int) -> pb2.AuditSummary:
    return pb2.AuditSummary(
        records=proof.records,
        first_sequence=proof.first,
        last_sequence=proof.last,
        hash=proof.hash.hex(),
        checkpoints=proof.agreeing,
        vouched_sequence=proof.vouched,
        faults=faults,
    )


def _time(message: Timestamp) -> datetime:
    return message.ToDatetime(UTC)
