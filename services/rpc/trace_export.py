"""Sends spans to an OpenTelemetry collector, where one is set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc

from services.rpc.settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

EXPORT_SECONDS = 5.0
# A collector that does not answer does not hold up a service's end for longer.
FAREWELL_SECONDS = 2.0
WAITING_SPANS = 4096
BATCH_SPANS = 512
BATCH_MILLISECONDS = 1000
# What clients name, ids of calls among it, is cut here.
MAX_ATTRIBUTE_CHARACTERS = 256
MAX_ATTRIBUTES = 32


@asynccontextmanager
async def tracing(settings: TracingSettings, service: str) -> AsyncIterator[Tracer | None]:
    """What makes the service's spans, sent until the block's end; None where no collector is set.

    Spans wait in a bounded queue and are sent from a thread of its own; what is too much is dropped.

    Args:
        settings: Where the spans go, and how many.
        service: The service's name within the platform.

    Raises:
        OSError: The collector's authorities cannot be read.
    """
    if not settings.otlp_endpoint:
        yield None
        return
    # Only who traces loads the SDK.
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    limits = SpanLimits(max_span_attributes=MAX_ATTRIBUTES, max_attribute_length=MAX_ATTRIBUTE_CHARACTERS)
    provider = TracerProvider(
        # Whoever called decided already; this decides for what begins here.
        ParentBased(TraceIdRatioBased(settings.trace_ratio)),
        Resource.create({"service.name": f"parley-{service}", "service.version": version("parley")}),
        shutdown_on_exit=False,
        span_limits=limits,
    )
    exporter = _exporter(settings)
    processor = BatchSpanProcessor(exporter, WAITING_SPANS, BATCH_MILLISECONDS, BATCH_SPANS)
    provider.add_span_processor(processor)
    try:
        yield provider.get_tracer("parley")
    finally:
        await _close(provider, exporter)


def _exporter(settings: TracingSettings) -> OTLPSpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    secure = urlsplit(settings.otlp_endpoint).scheme == "https"
    authority = settings.otlp_authority_path
    roots = authority.read_bytes() if authority is not None else None
    return OTLPSpanExporter(
        settings.otlp_endpoint,
        insecure=not secure,
        credentials=grpc.ssl_channel_credentials(roots) if secure else None,
        timeout=EXPORT_SECONDS,
    )


async def _close(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """Send what is left, for a moment."""
    closing = asyncio.ensure_future(asyncio.to_thread(provider.shutdown))
    done, _ = await asyncio.wait({closing}, timeout=FAREWELL_SECONDS)
    if not done:
        exporter.shutdown()  # which ends its attempts
    await closing
