"""What Envoy tells of its refusals becomes bounded, printable events, and its stream ends in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from parley.auth.v1 import audit_pb2
from parley.edge import access_log_pb2
from services.auth.edge_refusals import MAX_ENTRIES, EdgeRefusalServicer, refusal
from tests.auth.audit.conftest import Sink


def entry(**request: str) -> access_log_pb2.HTTPAccessLogEntry:
    return access_log_pb2.HTTPAccessLogEntry(
        common_properties={"downstream_remote_address": {"socket_address": {"address": "192.0.2.7"}}},
        request=request,
        response={"response_code": {"value": 401}, "response_code_details": "jwt_authn_access_denied{x}"},
    )


def test_what_strangers_sent_is_bounded_printable_and_without_its_query() -> None:
    told = refusal(entry(path="/" + "a" * 1000 + "?token=secret", request_id="x\r\n{}\x1b[31m" + "y" * 100))
    assert len(told.method) == 256
    assert "secret" not in str(told)
    assert told.request_id.startswith("x??{}?[31my")
    assert len(told.request_id) == 64


@pytest.mark.parametrize(
    ("status", "grpc_status", "code"),
    [
        (401, "", "UNAUTHENTICATED"),
        (200, "16", "UNAUTHENTICATED"),
        (429, "", "RESOURCE_EXHAUSTED"),
        (418, "", "UNKNOWN"),
        (200, "99", "UNKNOWN"),
        (403, "٣", "PERMISSION_DENIED"),
    ],
)
def test_the_code_is_what_the_caller_read(status: int, grpc_status: str, code: str) -> None:
    given = entry()
    given.response.response_code.value = status
    given.response.response_headers["grpc-status"] = grpc_status
    assert refusal(given).code == code


def test_an_original_path_is_told_where_there_is_no_other() -> None:
    assert refusal(entry(original_path="/api/v1/me?x=1")).method == "/api/v1/me"
    assert refusal(access_log_pb2.HTTPAccessLogEntry()).decision == audit_pb2.AUDIT_DECISION_REFUSED


class Messages:
    """Some messages, then silence until the stream is over."""

    def __init__(self, *messages: access_log_pb2.StreamAccessLogsMessage) -> None:
        self._messages = messages
        self.read = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[access_log_pb2.StreamAccessLogsMessage]:
        for message in self._messages:
            yield message
        self.read.set()
        await asyncio.Event().wait()


async def taken(*messages: access_log_pb2.StreamAccessLogsMessage) -> list[audit_pb2.AuditEvent]:
    sink, stopping, stream = Sink(), asyncio.Event(), Messages(*messages)
    servicer = EdgeRefusalServicer(sink, stopping)
    serving = asyncio.create_task(servicer.StreamAccessLogs(cast("Any", stream), cast("Any", None)))
    async with asyncio.timeout(20):
        await stream.read.wait()
        stopping.set()
        await serving
    return sink.events


async def test_the_stream_ends_when_the_service_stops() -> None:
    logs = {"log_entry": [entry(path="/a"), entry(path="/b")]}
    events = await taken(
        access_log_pb2.StreamAccessLogsMessage(http_logs=logs), access_log_pb2.StreamAccessLogsMessage()
    )
    assert [event.method for event in events] == ["/a", "/b"]


async def test_one_message_brings_only_so_many() -> None:
    logs = {"log_entry": [entry(path="/a")] * (MAX_ENTRIES + 1)}
    assert len(await taken(access_log_pb2.StreamAccessLogsMessage(http_logs=logs))) == MAX_ENTRIES
