"""A tool that keeps those waiting who call it, and sees when they give up: that of an MCP server.

MCP's packages are imported where they are used: every command imports this module, and they take a second.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mcp_types

VISIT_SECONDS = 300.0
TOOL = "wait"

Visit = asyncio.Future[float]
"""A call that is waiting: when it was given up, in Unix time."""

_NO_ARGUMENTS = {"type": "object", "properties": {}}


class EndlessTool:
    """A tool without arguments that never answers, and sees when it is given up.

    Attributes:
        url: Where its server listens.
    """

    def __init__(self) -> None:
        self.url = ""
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()

    async def visit(self) -> Visit:
        """The next call."""
        return await self._visits.get()

    async def listed(self, _context: Any, _params: Any) -> mcp_types.ListToolsResult:
        """The tool, as its server tells of it."""
        import mcp_types

        reads = mcp_types.ToolAnnotations(read_only_hint=True)
        told = mcp_types.Tool(name=TOOL, description="Waits.", input_schema=_NO_ARGUMENTS, annotations=reads)
        return mcp_types.ListToolsResult(tools=[told])

    async def called(self, _context: Any, _params: Any) -> mcp_types.CallToolResult:
        """Take a call and wait for its end."""
        loop = asyncio.get_running_loop()
        left: Visit = loop.create_future()
        answer: asyncio.Future[mcp_types.CallToolResult] = loop.create_future()
        self._visits.put_nowait(left)
        try:
            return await answer
        finally:
            left.set_result(time.time())


@asynccontextmanager
async def endless_tool() -> AsyncIterator[EndlessTool]:
    """The tool and its server, until the block's end."""
    import uvicorn
    from mcp.server.lowlevel.server import Server

    tool = EndlessTool()
    told: Server[Any] = Server("bench", on_list_tools=tool.listed, on_call_tool=tool.called)
    config = uvicorn.Config(told.streamable_http_app(), log_level="error", timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tool.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        server = uvicorn.Server(config)
        # They are the bench's; uvicorn would take them wherever it serves.
        server.capture_signals = nullcontext  # type: ignore[assignment]
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield tool
        finally:
            server.should_exit = True
            await serving
