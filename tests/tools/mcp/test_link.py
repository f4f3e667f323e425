"""A link to a server whose connection fails in the moment in which nobody wants it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.tools.mcp.link import Link
from services.tools.mcp.reach import Reach, Streams
from services.tools.settings import McpServerSetting

WAIT_SECONDS = 10


class FailsWhenCancelled(Reach):
    """Reaches no server: it waits, and breaks when the waiting is cancelled, once."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.broke = False

    @asynccontextmanager
    async def streams(
        self, server: McpServerSetting, *, fixed: bool, on_end: Callable[[], None]
    ) -> AsyncIterator[Streams]:
        try:
            self.waiting.set()
            await asyncio.Event().wait()
            yield  # type: ignore[misc]
        except asyncio.CancelledError:
            if self.broke:
                raise
            self.broke = True
            raise ConnectionResetError("it broke") from None


async def test_a_failure_does_not_swallow_the_end() -> None:
    reach = FailsWhenCancelled()
    setting = McpServerSetting(url="http://127.0.0.1:1/mcp")
    link = Link("one", setting, reach, lambda _: None, fixed=True, max_tools=8)
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(WAIT_SECONDS):
        await reach.waiting.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=WAIT_SECONDS)
    assert running.cancelled()
    assert not link.problem
