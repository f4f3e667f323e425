"""The tools that a caller may use, remembered for a while.

A fresh answer saves a call to the tools service in every chat; an old one lets
chats go on offering the tools they know while that service is down.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import structlog

from parley.tools.v1 import tool_pb2, tool_service_pb2
from services.inference.engine.turn import ToolSpec
from services.rpc.call import current_principal, onward_metadata
from services.rpc.errors import DependencyUnavailable
from services.rpc.principal import Principal

if TYPE_CHECKING:
    # The stub as grpc.aio makes it; it exists for type checkers alone.
    from parley.tools.v1.tool_service_pb2_grpc import ToolServiceAsyncStub

FRESH_SECONDS = 5.0
STALE_SECONDS = 600.0
FETCH_SECONDS = 2.0
# With nothing to fall back on, a slow answer is better than a chat without its tools.
FIRST_FETCH_SECONDS = 15.0
REMEMBERED = 256
PAGE_SIZE = 1000
MAX_TOOLS = 4096

UNATTENDED = (tool_pb2.SAFETY_LEVEL_SAFE, tool_pb2.SAFETY_LEVEL_RESTRICTED)


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool of the platform.

    Attributes:
        spec: What a model is told of it.
        safety_level: How much harm it could do, as the contract of tools numbers it.
        permission: What a caller needs to use it.
    """

    spec: ToolSpec
    safety_level: int
    permission: str

    @property
    def dangerous(self) -> bool:
        """Whether its calls need approval: those of a level that is unknown here do, too."""
        return self.safety_level not in UNATTENDED


Tools = Mapping[str, ServerTool]
Key = tuple[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Known:
    """An answer of the tools service, and when it came, on the loop's clock."""

    tools: Tools
    at: float


class Catalogue:
    """Asks the tools service what a caller may use; callers with equal rights share an answer."""

    def __init__(
        self,
        stub: ToolServiceAsyncStub,
        *,
        fresh_seconds: float = FRESH_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        fetch_seconds: float = FETCH_SECONDS,
        first_fetch_seconds: float = FIRST_FETCH_SECONDS,
    ) -> None:
        """Ask through this stub.

        Args:
            stub: The tools service.
            fresh_seconds: How long an answer is not asked for again.
            stale_seconds: How long it serves while the service is down.
            fetch_seconds: How long a new answer is waited for where an old one can serve.
            first_fetch_seconds: How long it is waited for where none can.
        """
        self._stub = stub
        self._fresh = fresh_seconds
        self._stale = stale_seconds
        self._fetch_seconds = fetch_seconds
        self._first_fetch_seconds = first_fetch_seconds
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._log = structlog.get_logger("parley.inference")

    def __len__(self) -> int:
        """How many answers are remembered."""
        return len(self._known)

    async def tools(self) -> Tools:
        """The tools of the current caller, by name, sorted.

        Raises:
            DependencyUnavailable: The service does not answer, and what it
                said before, if anything, is too old.
        """
        key = _key(current_principal())
        known, now = self._known.get(key), asyncio.get_running_loop().time()
        if known is not None and now - known.at < self._fresh:
            return known.tools
        serves = known is not None and now - known.at < self._stale
        try:
            tools = await self._fetch(self._fetch_seconds if serves else self._first_fetch_seconds)
        except (grpc.RpcError, TimeoutError) as error:
            if known is None or not serves:
                raise DependencyUnavailable("tools") from error
            return known.tools
        self._remember(key, _Known(tools, now))
        return tools

    def _remember(self, key: Key, known: _Known) -> None:
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _fetch(self, seconds: float) -> Tools:
        """All that can be called, in this time. A caller who may not even list the tools has none."""
        try:
            async with asyncio.timeout(seconds):
                return await self._pages(seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return {}
            self._log.warning("tool catalogue not fetched", code=error.code().name)
            raise

    async def _pages(self, seconds: float) -> Tools:
        tools: dict[str, ServerTool] = {}
        token, metadata = "", onward_metadata()
        while True:
            page = await self._stub.ListTools(
                tool_service_pb2.ListToolsRequest(page_size=PAGE_SIZE, page_token=token),
                metadata=metadata,
                timeout=seconds,
            )
            tools.update((tool.name, _server_tool(tool)) for tool in page.tools if not tool.unavailable)
            token = page.next_page_token
            if not token or len(tools) >= MAX_TOOLS:
                return dict(sorted(tools.items()))


def _key(principal: Principal) -> Key:
    """What the catalogue depends on."""
    return principal.tenant_id, principal.permissions


def _server_tool(tool: tool_pb2.Tool) -> ServerTool:
    spec = ToolSpec(tool.name, tool.description, json.loads(tool.parameters_schema or "{}"))
    return ServerTool(spec, tool.safety_level, tool.permission)
