"""A server that keeps those waiting who ask it, and sees when they give up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.failures import CommandError, ExitCode

VISIT_SECONDS = 300.0

Visit = asyncio.Future[float]
"""A request that is waiting: when its connection was closed, in Unix time."""


class EndlessServer:
    """A server of HTTP that never answers, and sees when it is given up.

    Attributes:
        url: Where it listens.
    """

    def __init__(self) -> None:
        self.url = ""
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()

    async def visit(self) -> Visit:
        """The next request.

        Raises:
            CommandError: None comes.
        """
        try:
            async with asyncio.timeout(VISIT_SECONDS):
                return await self._visits.get()
        except TimeoutError:
            message = "The model did not call its tool, or the tool did not dial."
            raise CommandError(message, "", ExitCode.FAILED) from None

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a request and wait for the connection's end."""
        left: Visit = asyncio.get_running_loop().create_future()
        try:
            await reader.readuntil(b"\r\n\r\n")
            self._visits.put_nowait(left)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        left.set_result(time.time())
        writer.close()


@asynccontextmanager
async def endless_server() -> AsyncIterator[EndlessServer]:
    """The server, until the block's end."""
    holding = EndlessServer()
    server = await asyncio.start_server(holding.hold, "127.0.0.1", 0)
    holding.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield holding
    finally:
        server.close()
