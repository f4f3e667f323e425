"""Traces over two services and their stores, sent to a real receiver."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from sqlalchemy import text
from structlog.testing import capture_logs

from cli.local.preflight import free_port
from services.ledger.ledger import open_store
from services.rpc.call import onward_metadata
from services.rpc.channel import open_channel
from services.rpc.server import RpcServer
from services.rpc.settings import ServiceSettings
from services.rpc.tls import TlsFiles
from services.rpc.trace_export import tracing
from services.rpc.tracing import trace_ids
from services.sql.database import Database, parse_url
from tests.rpc.collector import Collector, Heard, collecting
from tests.rpc.conftest import ToyServicer

UNARY = "parley.toy.v1.ToyService/Unary"
SECRET = "tr0ub4dor&3"
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}"


class Relay(ToyServicer):
    """Uses both kinds of store, and asks the toy service behind."""

    def __init__(self, toy: Any, behind: Any, database: Database, store: Any) -> None:
        super().__init__(toy)
        self._behind = behind
        self._database = database
        self._store = store
        self.seen: dict[str, str] = {}

    async def Unary(self, request: Any, context: Any) -> Any:
        self.seen = trace_ids()
        async with self._database.reading() as session:
            await session.execute(text("SELECT :word"), {"word": SECRET})
        await self._store.set("word", SECRET)
        async with self._store.pipeline() as together:
            await together.get("word").delete("word").execute()
        return await self._behind.Unary(request, metadata=onward_metadata(), timeout=20)


@dataclass
class Two:
    """A relay, and the service behind it."""

    toy: Any
    relay: Relay
    behind: ToyServicer
    stub: Any
    metadata: tuple[tuple[str, str], ...]

    def call(self, behaviour: str, *more: tuple[str, str]) -> Any:
        request = self.toy.ToyRequest(behaviour=behaviour)
        return self.stub.Unary(request, metadata=(*self.metadata, *more), timeout=20)


TwoServices = Callable[..., Any]


@pytest.fixture
def two_services(
    toy: Any, identity: Callable[[str], TlsFiles], tokens: Any, tmp_path: Path, store_url: str
) -> TwoServices:
    """Starts both, traced as they are told."""

    async def serve(stack: AsyncExitStack, name: str, servicer: Any, **told: Any) -> Any:
        files = identity("toy")
        settings = ServiceSettings(
            tls_certificate_path=files.certificate,
            tls_private_key_path=files.private_key,
            tls_authority_path=files.authority,
            drain_seconds=0,
            grace_seconds=0,
            **told,
        )
        tracer = await stack.enter_async_context(tracing(settings, name))
        server = RpcServer(settings, tokens.verifier(), tracer=tracer)
        server.add(toy.add_ToyServiceServicer_to_server, servicer)
        port = await server.start()
        stack.push_async_callback(server.stop)
        address = f"127.0.0.1:{port}"
        channel = open_channel(address, tls=identity("edge"), service="toy", trust_domain="parley.local")
        stack.push_async_callback(channel.close)
        return toy.ToyServiceStub(channel)

    @asynccontextmanager
    async def both(**told: Any) -> AsyncIterator[Two]:
        async with AsyncExitStack() as stack:
            database = Database(parse_url(f"sqlite+aiosqlite:///{tmp_path}/toy.db"))
            stack.push_async_callback(database.close)
            store = await stack.enter_async_context(open_store(store_url))
            behind = ToyServicer(toy)
            relay = Relay(toy, await serve(stack, "behind", behind, **told), database, store)
            stub = await serve(stack, "relay", relay, **told)
            yield Two(toy, relay, behind, stub, tokens.metadata("toy.use"))

    return both


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as running:
        yield running


def named(service: str, name: str) -> Callable[[Heard], bool]:
    return lambda each: (each.service, each.span.name) == (service, name)


async def calls_of(collector: Collector) -> tuple[Heard, Heard]:
    """The relay's call, and that behind it."""
    front = await collector.find(named("parley-relay", UNARY))
    return front, await collector.find(named("parley-behind", UNARY))


async def test_one_call_over_two_services_and_their_stores_is_one_trace(
    two_services: TwoServices, collector: Collector
) -> None:
    async with two_services(otlp_endpoint=collector.endpoint, trace_ratio=1) as both:
        with capture_logs() as lines:
            await both.call("hello", ("x-request-id", "request-0001"))
    front, behind = await calls_of(collector)
    assert {each.span.trace_id for each in collector.heard} == {front.span.trace_id}
    assert both.relay.seen["trace_id"] == front.span.trace_id.hex()
    assert (front.span.parent_span_id, behind.span.parent_span_id) == (b"", front.span.span_id)
    parts = {each.span.name for each in collector.heard if each.span.parent_span_id == front.span.span_id}
    assert parts == {UNARY, "BEGIN", "SELECT", "SET", "PIPELINE"}
    assert front.span.kind == Span.SPAN_KIND_SERVER
    assert front.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": UNARY,
        "rpc.response.status_code": "OK",
        "parley.request_id": "request-0001",
    }
    assert [line["code"] for line in lines if line["event"] == "call"] == ["OK", "OK"]
    assert SECRET.encode() not in collector.raw


async def test_an_error_is_told_by_its_code_and_without_its_text(
    two_services: TwoServices, collector: Collector
) -> None:
    async with two_services(otlp_endpoint=collector.endpoint, trace_ratio=1) as both:
        with pytest.raises(grpc.aio.AioRpcError):
            await both.call("fault")
    front, behind = await calls_of(collector)
    assert behind.span.parent_span_id == front.span.span_id
    for each in (front, behind):
        assert each.span.status.code == Status.STATUS_CODE_ERROR
        assert (each.attributes["error.type"], each.span.status.message) == ("INTERNAL", "")
    assert b"secret inward detail" not in collector.raw


async def test_a_refusal_is_the_callers_and_no_fault_of_the_service(
    two_services: TwoServices, collector: Collector
) -> None:
    async with two_services(otlp_endpoint=collector.endpoint, trace_ratio=1) as both:
        with pytest.raises(grpc.aio.AioRpcError):
            await both.call("overloaded")
    _, behind = await calls_of(collector)
    assert behind.attributes["error.type"] == "RESOURCE_EXHAUSTED"
    assert behind.span.status.code == Status.STATUS_CODE_UNSET


async def test_a_cancelled_call_ends_its_spans_in_every_service(
    two_services: TwoServices, collector: Collector
) -> None:
    async with two_services(otlp_endpoint=collector.endpoint, trace_ratio=1) as both:
        call = both.call("wait")
        asking = asyncio.ensure_future(_ended(call))
        async with asyncio.timeout(30):
            await both.behind.waiting.wait()
        call.cancel()
        await asking
        front, behind = await calls_of(collector)
    assert behind.span.parent_span_id == front.span.span_id
    codes = {each.attributes["rpc.response.status_code"] for each in (front, behind)}
    assert codes == {"CANCELLED"}


async def _ended(call: Awaitable[Any]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_callers_trace_is_joined_and_its_choice_kept(
    two_services: TwoServices, collector: Collector
) -> None:
    async with two_services(otlp_endpoint=collector.endpoint, trace_ratio=0) as both:
        await both.call("hello", ("traceparent", CALLER.format(flags="00")))
        assert both.relay.seen["trace_id"] == CALLER[3:35]
        await both.call("hello")
        await both.call("hello", ("traceparent", CALLER.format(flags="01")))
    front, _ = await calls_of(collector)
    assert front.span.parent_span_id.hex() == CALLER[36:52]
    assert [each.span.name for each in collector.heard].count(UNARY) == 2


async def test_a_collector_behind_tls_is_checked_against_its_authority(
    two_services: TwoServices, identity: Callable[[str], TlsFiles]
) -> None:
    files = identity("collector")
    async with (
        collecting(files) as collector,
        two_services(
            otlp_endpoint=collector.endpoint, otlp_authority_path=files.authority, trace_ratio=1
        ) as both,
    ):
        await both.call("hello")
        await calls_of(collector)


async def test_untraced_services_know_of_no_trace(two_services: TwoServices) -> None:
    async with two_services() as both:
        await both.call("hello", ("traceparent", CALLER.format(flags="01")))
    assert both.relay.seen == {}


async def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(two_services: TwoServices) -> None:
    async with two_services(otlp_endpoint=f"http://127.0.0.1:{free_port()}", trace_ratio=1) as both:
        await both.call("hello")
        began = time.monotonic()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "endpoint", ["collector:4317", "http://collector", "ftp://collector:1", "https://a:b@collector:4317"]
)
def test_an_endpoint_that_is_none_is_refused(identity: Callable[[str], TlsFiles], endpoint: str) -> None:
    files = identity("toy")
    with pytest.raises(ValueError, match="must"):
        ServiceSettings(
            tls_certificate_path=files.certificate,
            tls_private_key_path=files.private_key,
            tls_authority_path=files.authority,
            otlp_endpoint=endpoint,
        )
