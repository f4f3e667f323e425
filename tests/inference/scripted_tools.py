"""A tools service on its real contract that answers by script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from google.rpc import code_pb2, status_pb2
from mcp.client import Client as McpClient

from parley.tools.v1 import execution_pb2, tool_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import (
    ToolServiceServicer,
)
from services.rpc.server import RpcServer


class ScriptedToolService(ToolServiceServicer):
    """Answers on the real contract: `slow` never, `broken` with an error, others at once.

    `danger` is dangerous, the others are safe. Meanwhile `slow` calls `wait` of the MCP
    server at `dials`, if that is set.
    """

    def __init__(self) -> None:
        self.listed = 0
        self.running = 0
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.arguments: list[str] = []
        self.calls: list[execution_pb2.ToolInvocation] = []
        self.breaks_off = False
        self.dials = ""
        self.lists = asyncio.Event()
        self.lists.set()

    async def ListTools(self, request: Any, context: Any) -> tool_service_pb2.ListToolsResponse:
        self.listed += 1
        await self.lists.wait()
        names = ["broken", "calculator", "danger", "off", "slow"]
        at = names.index(request.page_token) if request.page_token else 0
        tool = tool_pb2.Tool(name=names[at], description="A tool.", parameters_schema='{"type":"object"}')
        tool.safety_level = (
            tool_pb2.SAFETY_LEVEL_DANGEROUS if names[at] == "danger" else tool_pb2.SAFETY_LEVEL_SAFE
        )
        tool.permission = f"tools.test.{names[at]}"
        tool.unavailable = "No sandbox works here." if names[at] == "off" else ""
        following = names[at + 1] if at + 1 < len(names) else ""
        return tool_service_pb2.ListToolsResponse(tools=[tool], next_page_token=following)

    async def Execute(self, request: Any, context: Any) -> AsyncIterator[tool_service_pb2.ExecuteResponse]:
        raise NotImplementedError
        yield

    async def ExecuteMany(
        self, request_iterator: Any, context: Any
    ) -> AsyncIterator[tool_service_pb2.ExecuteManyResponse]:
        self.running += 1
        try:
            async for request in request_iterator:
                self.arguments.append(request.call.arguments)
                self.calls.append(request.call)
                async for event in self._run(request.call):
                    yield tool_service_pb2.ExecuteManyResponse(event=event)
        finally:
            self.running -= 1
            self.ended.set()

    async def _look(self) -> None:
        async with McpClient(self.dials) as client:
            await client.call_tool("wait", {})

    async def _run(self, call: execution_pb2.ToolInvocation) -> AsyncIterator[execution_pb2.ToolEvent]:
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=1, started={"tool": call.tool})
        self.started.set()
        if self.breaks_off:
            return
        if call.tool == "slow":
            await (self._look() if self.dials else asyncio.Event().wait())
        progress = execution_pb2.ToolProgress(fraction=0.5, message="half")
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=2, progress=progress)
        if call.tool == "broken":
            error = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="It broke.")
            yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=3, error=error)
            return
        result = execution_pb2.ToolResult(content='{"result":391}')
        yield execution_pb2.ToolEvent(call_id=call.call_id, sequence=3, result=result)


@dataclass
class ToolsProcess:
    """A running scripted tools service."""

    service: ScriptedToolService
    server: RpcServer
    port: int
