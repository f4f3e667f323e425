"""Takes what Envoy itself refused, over its gRPC access log, into the audit."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import structlog
from google.rpc import code_pb2
from ulid import ULID

from parley.auth.v1 import audit_pb2
from parley.edge import access_log_pb2 as edge_pb2
from parley.edge import access_log_pb2_grpc
from services.rpc.audit import AuditSink
from services.rpc.interceptors.around import Context

MAX_ENTRIES = 10_000
ID_CHARACTERS = 64
METHOD_CHARACTERS = 256
REASON_CHARACTERS = 128
UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

# google/rpc/code.proto names the HTTP status of each code.
CODES = {
    400: code_pb2.INVALID_ARGUMENT,
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.UNIMPLEMENTED,
    413: code_pb2.INVALID_ARGUMENT,
    429: code_pb2.RESOURCE_EXHAUSTED,
    503: code_pb2.UNAVAILABLE,
}

log = structlog.get_logger("parley.audit")


class EdgeRefusalServicer(access_log_pb2_grpc.AccessLogServiceServicer):
    """Turns Envoy's entries into audit events. The edge sends refusals alone."""

    def __init__(self, sink: AuditSink, stopping: asyncio.Event) -> None:
        """Put them into this sink; leave when it is `stopping`."""
        self._sink = sink
        self._stopping = stopping

    async def StreamAccessLogs(
        self, request_iterator: AsyncIterator[edge_pb2.StreamAccessLogsMessage], context: Context
    ) -> edge_pb2.StreamAccessLogsResponse:
        """Take entries until Envoy leaves, or until it is time to."""
        stopping = asyncio.ensure_future(self._stopping.wait())
        taking = asyncio.ensure_future(self._take(request_iterator))
        try:
            await asyncio.wait({stopping, taking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            taking.cancel()
        return edge_pb2.StreamAccessLogsResponse()

    async def _take(self, messages: AsyncIterator[edge_pb2.StreamAccessLogsMessage]) -> None:
        async for message in messages:
            entries = message.http_logs.log_entry
            if len(entries) > MAX_ENTRIES:
                log.warning("too many refusals at once", entries=len(entries), taken=MAX_ENTRIES)
            for entry in entries[:MAX_ENTRIES]:
                self._sink.record(refusal(entry))


def refusal(entry: edge_pb2.HTTPAccessLogEntry) -> audit_pb2.AuditEvent:
    """The event of a request that Envoy refused. What strangers sent stays bounded and printable."""
    common, request, response = entry.common_properties, entry.request, entry.response
    event = audit_pb2.AuditEvent(
        event_id=str(ULID()),
        stage=audit_pb2.AUDIT_STAGE_ENDED,
        method=_plain(urlsplit(request.path or request.original_path).path, METHOD_CHARACTERS),
        request_id=_plain(request.request_id, ID_CHARACTERS),
        client_address=_plain(common.downstream_remote_address.socket_address.address, ID_CHARACTERS),
        decision=audit_pb2.AUDIT_DECISION_REFUSED,
        reason=_plain(response.response_code_details, REASON_CHARACTERS),
        code=code_pb2.Code.Name(_code(response)),
        resources={"http_status": str(response.response_code.value)},
    )
    event.time.CopyFrom(common.start_time)
    return event


def _code(response: edge_pb2.HTTPResponseProperties) -> code_pb2.Code.ValueType:
    """What callers read: a gRPC status, which comes with the headers, or what the HTTP status means."""
    told = response.response_headers.get("grpc-status", "")
    if told.isascii() and told.isdigit() and int(told) in code_pb2.Code.values():
        return code_pb2.Code.ValueType(int(told))
    return CODES.get(response.response_code.value, code_pb2.UNKNOWN)


def _plain(text: str, most: int) -> str:
    return UNPRINTABLE.sub("?", text)[:most]
