"""The span of each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

import grpc
from opentelemetry.semconv._incubating.attributes.rpc_attributes import (
    RPC_METHOD,
    RPC_RESPONSE_STATUS_CODE,
    RPC_SYSTEM_NAME,
)
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.trace import Span, StatusCode, Tracer

from services.rpc.call import current_call
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.interceptors.metrics import UNKNOWN_METHOD
from services.rpc.interceptors.outcome import outcome
from services.rpc.tracing import join_trace

REQUEST_ID = "parley.request_id"
# Probes come every second, and feeds between our own processes never end: a trace of one would grow for ever.
UNTRACED = (
    "/grpc.health.v1.Health/",
    "/parley.auth.v1.RevocationService/WatchRevocations",
    "/envoy.service.accesslog.v3.AccessLogService/",
)
# What the semantic conventions count as the server's fault; the others are the caller's.
FAULTS = frozenset(
    code.name
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
)


class Trace(CallInterceptor):
    """Makes each call a part of its caller's trace (W3C Trace Context), or begins one."""

    def __init__(self, methods: Container[str], tracer: Tracer) -> None:
        """Name spans after these methods; any other has one name, so that clients cannot make names."""
        self._methods = methods
        self._tracer = tracer

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Record the call, and how it ended."""
        if method.startswith(UNTRACED):
            yield
            return
        name = method.removeprefix("/") if method in self._methods else UNKNOWN_METHOD
        span, code = join_trace(self._tracer, context.invocation_metadata() or (), name), "OK"
        try:
            yield
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            code = outcome(error, context)
            raise
        finally:
            _end(span, name, code)


def _end(span: Span, method: str, code: str) -> None:
    span.set_attributes(
        {
            RPC_SYSTEM_NAME: "grpc",
            RPC_METHOD: method,
            RPC_RESPONSE_STATUS_CODE: code,
            REQUEST_ID: current_call().request_id,
        }
    )
    if code != "OK":
        span.set_attribute(ERROR_TYPE, code)
    if code in FAULTS:
        span.set_status(StatusCode.ERROR)
    span.end()
