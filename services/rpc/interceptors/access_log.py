"""One log line for each call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from services.rpc.call import Call, current_call
from services.rpc.interceptors.around import CallInterceptor, Context
from services.rpc.interceptors.outcome import outcome

# Probes come every second; what a key is exchanged for, the service that it is used at tells.
QUIET_METHODS = ("/grpc.health.v1.Health/", "/envoy.service.auth.v3.Authorization/")


class AccessLog(CallInterceptor):
    """Says who called what, how it ended and how long it took; never with what."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("parley.access")

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Write the line when the call is over. Probes and exchanges are written only when they fail."""
        call, start, code = current_call(), time.perf_counter(), "OK"
        try:
            yield
        except (Exception, asyncio.CancelledError, GeneratorExit) as error:
            code = outcome(error, context)
            raise
        finally:
            if code != "OK" or call.refusal is not None or not method.startswith(QUIET_METHODS):
                self._write(call, code, time.perf_counter() - start)

    def _write(self, call: Call, code: str, seconds: float) -> None:
        principal = call.principal
        self._log.info(
            "call",
            method=call.method,
            code=code,
            milliseconds=round(seconds * 1000, 3),
            request_id=call.request_id,
            peer=call.peer,
            tenant_id=principal.tenant_id if principal else "",
            user_id=principal.user_id if principal else "",
            key_id=principal.key_id if principal else "",
        )
