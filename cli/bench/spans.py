"""Hears, as a collector of traces, when the engine let go of a run and what it was doing then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GEN_AI_RESPONSE_ID
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE


@dataclass(frozen=True)
class TurnEnd:
    """The end of a turn of the model that did not come from the model.

    Attributes:
        phase: What was cut short: `queue`, `prefill` or `decode`.
        seconds: When its seat at the engine was free again, in Unix time.
    """

    phase: str
    seconds: float


class TurnEnds(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps the ends of turns that were cut short.

    Attributes:
        endpoint: Where it listens, as the services are told it.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self._ends: dict[str, TurnEnd] = {}
        self._phases: dict[bytes, str] = {}
        self._more = asyncio.Condition()

    async def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        """Take spans. A phase comes before its turn, as it ends before it."""
        del context
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._take(span)
        async with self._more:
            self._more.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    async def of(self, run_ids: set[str], seconds: float) -> dict[str, TurnEnd]:
        """The ends of these runs' turns, as far as they come within this time."""
        try:
            async with asyncio.timeout(seconds), self._more:
                await self._more.wait_for(lambda: run_ids <= self._ends.keys())
        except TimeoutError:
            pass
        return {run_id: self._ends[run_id] for run_id in run_ids & self._ends.keys()}

    def _take(self, span: Span) -> None:
        told = {each.key: each.value.string_value for each in span.attributes}
        if ERROR_TYPE not in told:
            return
        if GEN_AI_RESPONSE_ID in told and (phase := self._phases.pop(span.span_id, "")):
            # A turn is named by its run and its number within that.
            run_id = told[GEN_AI_RESPONSE_ID].rpartition("-")[0]
            self._ends[run_id] = TurnEnd(phase, span.end_time_unix_nano / 1e9)
        elif span.parent_span_id:
            self._phases[span.parent_span_id] = span.name


@asynccontextmanager
async def turn_ends() -> AsyncIterator[TurnEnds]:
    """A collector on this machine, until the block's end."""
    server, ends = grpc.aio.server(), TurnEnds()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(ends, server)  # type: ignore[no-untyped-call]
    ends.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield ends
    finally:
        await server.stop(0)
