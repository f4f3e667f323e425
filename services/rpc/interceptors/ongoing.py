"""Knows when nothing is being served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.rpc.interceptors.around import CallInterceptor, Context

ABOUT_THE_SERVER = "/grpc."
"""Health and reflection: who watches a server's health does not keep it from ending."""


class Ongoing(CallInterceptor):
    """Counts the calls that are under way."""

    def __init__(self) -> None:
        """Begin with none."""
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    @asynccontextmanager
    async def around(self, context: Context, method: str) -> AsyncIterator[None]:
        """Count the call until nothing of it is left."""
        if method.startswith(ABOUT_THE_SERVER):
            yield
            return
        self._count += 1
        self._none.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._none.set()

    async def until_none(self) -> None:
        """Return when no call is under way."""
        await self._none.wait()
