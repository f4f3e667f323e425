"""The audit hears of every call of a stream: the stream itself ends well whatever becomes of them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from parley.auth.v1 import audit_pb2
from parley.tools.v1 import tool_service_pb2
from services.tools.builtin import math
from tests.rpc.test_audit import ALLOWED, REFUSED, Sink
from tests.tools.conftest import SECONDS, Gate, Service, cancel_request, run_request

METHOD = "/parley.tools.v1.ToolService/ExecuteMany"
SUM = '{"expression":"1+1"}'
MAY = ("tools.execute", "tools.math.calculator", "tools.utility.gate")


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def service(serve: Callable[..., Any], sink: Sink, gate: Gate) -> AsyncIterator[Service]:
    async with serve((*math.TOOLS, gate.tool), audit=sink) as running:
        yield running


def parts(sink: Sink) -> list[audit_pb2.AuditEvent]:
    """What was told of the calls."""
    return [event for event in sink.events if "call_id" in event.resources]


async def ask(service: Service, *requests: tool_service_pb2.ExecuteManyRequest) -> None:
    async with service.stub() as stub:
        stream = stub.ExecuteMany(iter(requests), metadata=service.metadata(*MAY), timeout=SECONDS)
        [answer async for answer in stream]


async def test_each_call_is_told_with_its_tool_and_its_end(service: Service, sink: Sink) -> None:
    await ask(
        service,
        run_request("good", "calculator", SUM),
        run_request("forbidden", "statistics", "{}"),
        run_request("good", "calculator", '{"expression":"2+2"}'),
        run_request("bad", "calculator", "{"),
    )
    told = [
        (event.resources["call_id"], event.resources["tool"], event.code, event.reason, event.decision)
        for event in parts(sink)
    ]
    assert sorted(told) == [
        ("bad", "calculator", "INVALID_ARGUMENT", "INVALID_ARGUMENTS", ALLOWED),
        ("forbidden", "statistics", "PERMISSION_DENIED", "PERMISSION_MISSING", REFUSED),
        ("good", "calculator", "ALREADY_EXISTS", "CALL_ID_TAKEN", ALLOWED),
        ("good", "calculator", "OK", "", ALLOWED),
    ]
    assert {event.method for event in sink.events} == {METHOD}
    assert len({event.request_id for event in sink.events}) == 1


async def test_arguments_are_told_as_a_digest_alone(service: Service, sink: Sink) -> None:
    await ask(service, run_request("1", "calculator", SUM))
    [event] = parts(sink)
    assert event.request_digest == hashlib.sha256(SUM.encode()).hexdigest()
    assert "1+1" not in str(event)


async def test_a_call_that_was_cut_off_is_told(serve: Callable[..., Any], sink: Sink, gate: Gate) -> None:
    async with serve([gate.tool], audit=sink) as running, running.stub() as stub:
        stream = stub.ExecuteMany(metadata=running.metadata(*MAY), timeout=SECONDS)
        await stream.write(run_request("cancelled", "gate"))
        await stream.write(run_request("left", "gate"))
        await gate.wait_for_inside(2)
        await stream.write(cancel_request("cancelled"))
        while not (await stream.read()).event.HasField("error"):
            pass
        stream.cancel()
        await gate.wait_for_nobody()
    assert [event.code for event in parts(sink)] == ["CANCELLED", "CANCELLED"]
