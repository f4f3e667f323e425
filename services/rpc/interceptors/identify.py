"""Gives each call its identity in logs and errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ulid import ULID

from services.rpc.call import REQUEST_ID, Call, enter_call
from services.rpc.interceptors.around import CallInterceptor, Context

# What the edge makes, or another service passed on. Anything else could forge log lines.
PLAIN_ID = re.compile(r"[0-9A-Za-z_-]{8,64}")


class Identify(CallInterceptor):
    """Puts the current `Call` in place and answers with its request id."""

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Take the request id from the metadata, or make one."""
        given = next((value for key, value in context.invocation_metadata() or () if key == REQUEST_ID), "")
        request_id = given if isinstance(given, str) and PLAIN_ID.fullmatch(given) else str(ULID())
        remaining = context.time_remaining()
        deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
        enter_call(Call(request_id, method, deadline))
        context.set_trailing_metadata(((REQUEST_ID, request_id),))
        yield
