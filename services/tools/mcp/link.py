"""The connection with one outside MCP server: kept up, told about, called through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import structlog
from mcp.client import Client, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    PaginatedRequestParams,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from parley.tools.v1 import mcp_service_pb2
from services.rpc.errors import ServiceError
from services.rpc.tasks import end_task
from services.tools.catalogue import LoopCall
from services.tools.errors import quoted
from services.tools.events import Progress
from services.tools.mcp.adapting import cleaned
from services.tools.mcp.reach import Reach, SecretUnreadable
from services.tools.mcp_errors import McpProtocolError, McpServerUnavailable
from services.tools.settings import McpServerSetting

CONNECT_SECONDS = 20.0
"""Time that a server has to start, to negotiate and to list its tools."""
CHECK_SECONDS = 60.0
"""Time after which a server that says nothing is asked for its tools again."""
RELIST_SECONDS = 0.5
"""Least time between two lists, however often the server says that they changed."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 60.0
STEADY_SECONDS = 30.0
"""After so long the next failure counts as the first again."""

_MAX_PAGES = 100
_MAX_PROBLEM_CHARACTERS = 300
_MAX_PROGRESS_CHARACTERS = 500
_CLIENT = Implementation(name="parley", version="1")

_log = structlog.get_logger("parley.tools")


class State(Enum):
    """How a server is; the names are those of the contract."""

    CONNECTING = mcp_service_pb2.MCP_SERVER_STATE_CONNECTING
    READY = mcp_service_pb2.MCP_SERVER_STATE_READY
    FAILED = mcp_service_pb2.MCP_SERVER_STATE_FAILED


class ServerGone(Exception):
    """The server said nothing more; its program ended, or broke the protocol's framing."""


class Pauses:
    """How long a server is left alone after each failure: twice as long every time, until it was steady."""

    def __init__(self) -> None:
        """Nothing failed yet."""
        self._next = FIRST_PAUSE_SECONDS

    def after(self, steady_seconds: float) -> float:
        """The pause after a failure, before which the server was there for so long, in seconds."""
        pause = FIRST_PAUSE_SECONDS if steady_seconds > STEADY_SECONDS else self._next
        self._next = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return pause


class Link:
    """One server, tried for as long as it is wanted.

    Attributes:
        name: Its name.
        setting: How it is reached and held.
        fixed: Whether it is one of the settings.
        state: How it is.
        problem: Why it is not ready, for people.
        since: Since when it is as it is.
        found: The tools that it said it has, when it was last asked.
        settled: Set once the first try is over.
    """

    def __init__(
        self,
        name: str,
        setting: McpServerSetting,
        reach: Reach,
        changed: Callable[[Link], None],
        *,
        fixed: bool,
        max_tools: int,
    ) -> None:
        """Make a link; `run` connects it, and `changed` is told whenever state or tools change."""
        self.name = name
        self.setting = setting
        self.fixed = fixed
        self.state = State.CONNECTING
        self.problem = ""
        self.since = datetime.now(UTC)
        self.found: list[Tool] = []
        self.settled = asyncio.Event()
        self._reach = reach
        self._changed = changed
        self._max_tools = max_tools
        self._client: Client | None = None
        self._nudged = asyncio.Event()
        self._wanted = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Connect, stay connected, and try again with growing pauses, until cancelled."""
        pauses = Pauses()
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                async with self._connected() as client:
                    await self._stay(client)
            except Exception as error:
                _raise_if_cancelled(error)
                self._settle(State.FAILED, _words(error))
                _log.warning("an MCP server failed", server=self.name, why=self.problem)
            finally:
                self._client = None
            await _within(pauses.after(asyncio.get_running_loop().time() - begun), self._wanted)
            self._wanted.clear()

    def retry(self) -> None:
        """Try again now, if it failed; `settled` is set again once that is over."""
        if self.state is State.FAILED:
            self.settled.clear()
            self._wanted.set()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        """A client whose server has negotiated and listed its tools."""
        self._ended.clear()
        self._nudged.clear()
        streams = self._reach.streams(self.setting, fixed=self.fixed, on_end=self._end)
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECT_SECONDS):
                client = await stack.enter_async_context(
                    Client(
                        streams,
                        read_timeout_seconds=CONNECT_SECONDS,
                        message_handler=self._heard,
                        client_info=_CLIENT,
                        cache=None,
                    )
                )
                self.found = await self._listed(client)
            self._client = client
            yield client

    async def _stay(self, client: Client) -> None:
        """Be ready, and follow the server's tools, until it is gone.

        Raises:
            ServerGone: Its program says nothing more.
            Exception: Whatever a broken connection raises.
        """
        listening = asyncio.create_task(self._listen(client))
        try:
            while True:
                self._settle(State.READY)
                await _within(RELIST_SECONDS, self._ended)
                await _within(CHECK_SECONDS, self._nudged)
                self._nudged.clear()
                if self._ended.is_set():
                    raise ServerGone
                self.found = await self._listed(client)
        finally:
            await end_task(listening)

    async def _listed(self, client: Client) -> list[Tool]:
        """All tools that the server says it has, as many as may be."""
        found: list[Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            found += page.tools
            cursor = page.next_cursor
            if cursor is None or len(found) >= self._max_tools:
                break
        return found[: self._max_tools]

    async def _listen(self, client: Client) -> None:
        """Ask a server of the newer protocol to tell of changes; older ones tell unasked."""
        tools = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (tools and tools.list_changed):
            return
        while True:
            with suppress(MCPError, SubscriptionLost, TimeoutError):
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._nudged.set()
            await asyncio.sleep(CHECK_SECONDS)
            self._nudged.set()  # what was missed meanwhile

    async def _heard(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._nudged.set()

    def _end(self) -> None:
        self._ended.set()
        self._nudged.set()

    def _settle(self, state: State, problem: str = "") -> None:
        if (state, problem) != (self.state, self.problem):
            self.since = datetime.now(UTC)
        self.state, self.problem = state, problem
        self._changed(self)
        self.settled.set()

    async def call(self, tool: str, arguments: dict[str, Any], call: LoopCall) -> CallToolResult:
        """Call a tool by the server's own name. Cancelling this tells the server so.

        Raises:
            McpServerUnavailable: The server is gone, or goes meanwhile.
            McpProtocolError: It answers with an error of the protocol, or against the protocol.
        """
        client = self._client
        if client is None:
            raise McpServerUnavailable(self.name)
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        try:
            # Not `call_tool`: that would hold the result to the server's own schema, on this event loop.
            return await client.session.send_request(
                request,
                CallToolResult,
                request_read_timeout_seconds=self.setting.timeout_seconds + CONNECT_SECONDS,
                progress_callback=_Following(call).tell,
            )
        except MCPError as error:
            self._nudged.set()
            if error.error.code == CONNECTION_CLOSED:
                raise McpServerUnavailable(self.name) from None
            why = cleaned(error.error.message, _MAX_PROBLEM_CHARACTERS)
            raise McpProtocolError(self.name, why, str(error.error.code)) from None
        except ValidationError:
            raise McpProtocolError(self.name, "its answer is not of the protocol's shape.") from None


def _raise_if_cancelled(error: Exception) -> None:
    """What fails while it is being cancelled raises the failure alone; its end was asked for all the same."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but not longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class _Following:
    """Passes a server's progress on; what comes while the reader is behind is left out."""

    def __init__(self, call: LoopCall) -> None:
        self._report = call.report
        self._busy = False

    async def tell(self, progress: float, total: float | None, message: str | None) -> None:
        """See the SDK's `ProgressFnT`."""
        if self._busy:
            return
        self._busy = True
        try:
            fraction = min(1.0, max(0.0, progress / total)) if total and total > 0 else None
            await self._report(Progress(cleaned(message or "", _MAX_PROGRESS_CHARACTERS), fraction))
        finally:
            self._busy = False


def _words(error: BaseException) -> str:
    """What went wrong, for people."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case ServiceError():
            return error.message
        case ServerGone():
            return "It ended."
        case TimeoutError():
            return f"It did not answer within {CONNECT_SECONDS:g} s."
        case MCPError() if error.error.code == CONNECTION_CLOSED:
            return "It closed the connection."
        case MCPError():
            return f"It answered with an error: {cleaned(error.error.message, _MAX_PROBLEM_CHARACTERS)}"
        case ValidationError():
            return "It answered against the protocol."
        case SecretUnreadable() | OSError():
            return quoted(str(error))
        case _:
            return f"The connection with it broke ({type(error).__name__})."
