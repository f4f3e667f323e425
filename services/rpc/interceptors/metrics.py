"""Counts and times calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

from services.rpc.call import current_tenant_class
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.interceptors.outcome import outcome
from services.rpc.telemetry import CALL_SECONDS, CALLS, CALLS_RUNNING

UNKNOWN_METHOD = "unknown"


class Metrics(CallInterceptor):
    """Keeps the Prometheus metrics of each method."""

    def __init__(self, methods: Container[str]) -> None:
        """Know these methods; any other counts as one, so that clients cannot make labels."""
        self._methods = methods

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Count the call, how it ended, and its time."""
        label = method if method in self._methods else UNKNOWN_METHOD
        start, code = time.perf_counter(), "OK"
        CALLS_RUNNING.labels(label).inc()
        try:
            yield
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            code = outcome(error, context)
            raise
        finally:
            CALLS_RUNNING.labels(label).dec()
            CALLS.labels(label, code, current_tenant_class()).inc()
            CALL_SECONDS.labels(label).observe(time.perf_counter() - start)
