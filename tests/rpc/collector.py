"""A real receiver of OTLP over gRPC, in the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.rpc.tls import TlsFiles

WAIT_SECONDS = 30


@dataclass(frozen=True)
class Heard:
    """A span, and whose it is."""

    service: str
    span: Span

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes as plain values."""
        return {each.key: _plain(each.value) for each in self.span.attributes}


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it is sent.

    Attributes:
        endpoint: Where it listens.
        heard: The spans so far.
        raw: All that was sent, as it came.
    """

    endpoint: str = ""
    heard: list[Heard] = field(default_factory=list)
    raw: bytes = b""
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            told = {each.key: each.value.string_value for each in resource.resource.attributes}
            spans = [span for scope in resource.scope_spans for span in scope.spans]
            self.heard.extend(Heard(told["service.name"], span) for span in spans)
        self.raw += request.SerializeToString()
        async with self._more:
            self._more.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    async def find(self, wanted: Callable[[Heard], bool]) -> Heard:
        """The first span that is wanted, as soon as it comes."""
        async with asyncio.timeout(WAIT_SECONDS), self._more:
            while True:
                if found := next((each for each in self.heard if wanted(each)), None):
                    return found
                await self._more.wait()

    def tree(self) -> dict[str, str]:
        """The name of each span's parent, by its own; empty where it has none that was sent."""
        names = {each.span.span_id: each.span.name for each in self.heard}
        return {each.span.name: names.get(each.span.parent_span_id, "") for each in self.heard}


@asynccontextmanager
async def collecting(tls: TlsFiles | None = None) -> AsyncIterator[Collector]:
    """A collector until the block's end; with an identity, one behind TLS."""
    server, collector = grpc.aio.server(), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    if tls is None:
        collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        pair = ((tls.private_key.read_bytes(), tls.certificate.read_bytes()),)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
        collector.endpoint = f"https://127.0.0.1:{port}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(0)


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind)
