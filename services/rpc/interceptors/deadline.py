"""Lets no unary call wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container
from contextlib import asynccontextmanager

from services.rpc.call import current_call
from services.rpc.errors import DeadlineExceeded
from services.rpc.interceptors.around import CallInterceptor, Context

# A stream of requests whose one answer never comes.
ENDLESS = frozenset({"/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"})


class Deadline(CallInterceptor):
    """Ends a unary call at its deadline, or at the service's own when it has none.

    Streams mind their own: they end with a last event, which nobody could send
    for them.
    """

    def __init__(self, streams: Container[str], default_seconds: float) -> None:
        """Leave the methods in `streams` alone; give others this time by default."""
        self._streams = streams
        self._default = default_seconds

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Run the call within its time."""
        if method in self._streams or method in ENDLESS:
            yield
            return
        call = current_call()
        if call.deadline is None:
            call.deadline = asyncio.get_running_loop().time() + self._default
        try:
            async with asyncio.timeout_at(call.deadline) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlineExceeded("The answer was not ready in time; allow more, or ask for less.") from None
