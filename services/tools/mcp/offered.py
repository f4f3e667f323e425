"""The catalogue as an MCP server offers it to one caller."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import islice
from typing import Any

import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as McpTool

from parley.tools.v1.tool_service_pb2 import ListToolsRequest
from services.rpc.call import note
from services.rpc.errors import (
    Internal,
    PageTokenInvalid,
    PermissionMissing,
    PolicyError,
    ServiceError,
)
from services.rpc.pages import DEFAULT_PAGE_SIZE, PageTokens
from services.tools.call_stream import Caller, CallStream, Request, StreamLimits
from services.tools.catalogue import Catalogue, Category, SafetyLevel, Tool, compact_json
from services.tools.errors import ToolNotFound, quoted
from services.tools.events import Output, Progress, Result
from services.tools.heard import tell_of_call
from services.tools.metering import Door
from services.tools.runner import Invocation, Runner

EXECUTE = "tools.execute"
REFUSED = -32050
"""The platform refuses the request; `data` says why. JSON-RPC leaves -32000 to -32099 to servers."""

_CALL = "call"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_INSTRUCTIONS = "Tools of a Parley deployment, run with the rights of your token or API key."
_QUERY = ListToolsRequest()

_log = structlog.get_logger("parley.tools")

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True)
class Offer:
    """What is offered, and how calls of it are run.

    Attributes:
        catalogue: The tools.
        runner: Runs them.
        limits: How much one call's stream may ask for.
        page_tokens: Makes and reads the cursors of lists.
        door: Counts the calls.
    """

    catalogue: Catalogue
    runner: Runner
    limits: StreamLimits
    page_tokens: PageTokens
    door: Door

    def server(self, caller: Caller) -> Server[Any]:
        """An MCP server for one request of this caller."""

        async def list_tools(_: Context, params: PaginatedRequestParams | None) -> ListToolsResult:
            with _told(caller):
                return self._page(caller, params.cursor if params else None)

        async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
            with _told(caller):
                return await self._call(caller, context, params)

        return Server(
            "parley",
            version=version("parley"),
            instructions=_INSTRUCTIONS,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )

    def _page(self, caller: Caller, cursor: str | None) -> ListToolsResult:
        note(mcp_method="tools/list")
        owner = caller.principal.user_id
        after = self.page_tokens.decode(cursor or "", _QUERY, owner)
        offered = (
            tool for tool in self.catalogue.permitted(caller.principal, 0, after) if not tool.unavailable
        )
        found = list(islice(offered, DEFAULT_PAGE_SIZE + 1))
        result = ListToolsResult(tools=[described(tool) for tool in found[:DEFAULT_PAGE_SIZE]])
        if len(found) > DEFAULT_PAGE_SIZE:
            last = found[DEFAULT_PAGE_SIZE - 1].name
            result.next_cursor = self.page_tokens.encode(last, _QUERY, owner)
        return result

    async def _call(self, caller: Caller, context: Context, params: CallToolRequestParams) -> CallToolResult:
        note(mcp_method="tools/call", tool=quoted(params.name))
        invocation = Invocation(_CALL, params.name, compact_json(params.arguments or {}))
        _admit(caller, invocation)
        progress = _ProgressLine(context)

        async def once() -> AsyncIterator[Request]:
            yield invocation

        stream = CallStream(self.runner, caller, self.limits, tell_of_call)
        async with self.door.passing() as tally, aclosing(stream.events(tally.counting(once()))) as events:
            async for event in events:
                match event.what:
                    case Progress() | Output():
                        await progress.tell(event.what)
                    case Result():
                        return _succeeded(event.what)
                    case ServiceError():
                        return _failed(event.what)
        raise RuntimeError("the call ended without a last event")


def _admit(caller: Caller, invocation: Invocation) -> None:
    """Refuse what is no call of a tool that this caller could make; the audit hears of that too.

    Raises:
        PermissionMissing: The caller may call no tool.
        ToolNotFound: No tool has such a name.
    """
    try:
        caller.principal.require(EXECUTE)
        if not _NAME.fullmatch(invocation.tool):
            raise ToolNotFound(quoted(invocation.tool), "")
    except ServiceError as error:
        tell_of_call(replace(invocation, tool=quoted(invocation.tool)), error)
        raise


class _ProgressLine:
    """Tells of a call's progress as MCP wants it: a number that only grows."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        self._last = 0.0

    async def tell(self, what: Progress | Output) -> None:
        """Pass on where the tool is; a share that does not grow is left out, text is not."""
        fraction = what.fraction if isinstance(what, Progress) else None
        message = what.message if isinstance(what, Progress) else what.text
        if fraction is None:
            self._last += 1
            await self._session.report_progress(self._last, None, message)
        elif fraction > self._last:
            self._last = fraction
            await self._session.report_progress(fraction, 1.0, message)


def described(tool: Tool) -> McpTool:
    """A tool as MCP describes it."""
    message = tool.message
    return McpTool(
        name=tool.name,
        description=tool.description,
        input_schema=json.loads(message.parameters_schema),
        output_schema=json.loads(message.result_schema),
        annotations=ToolAnnotations(
            read_only_hint=tool.safety is SafetyLevel.SAFE,
            destructive_hint=tool.safety is SafetyLevel.DANGEROUS,
            idempotent_hint=tool.idempotent,
            open_world_hint=tool.category in (Category.WEB, Category.MCP),
        ),
    )


def _succeeded(result: Result) -> CallToolResult:
    """The result as text, for every client, and as what it is."""
    return CallToolResult(
        content=[TextContent(text=result.content)], structured_content=json.loads(result.content)
    )


def _failed(error: ServiceError) -> CallToolResult:
    """What the tool says, for the model to read.

    Raises:
        ServiceError: It is the platform that refuses.
    """
    if isinstance(error, PolicyError | ToolNotFound):
        raise error
    meta = {"parley/error": _details(error)}
    return CallToolResult(content=[TextContent(text=error.message)], is_error=True, _meta=meta)


def _details(error: ServiceError) -> dict[str, Any]:
    """The error as programs read it."""
    details: dict[str, Any] = {
        "reason": error.reason_name(),
        "domain": error.domain(),
        "metadata": error.metadata,
    }
    if error.retry_after is not None:
        details["retryAfterSeconds"] = error.retry_after.total_seconds()
    if error.violations:
        details["violations"] = [
            {"field": violation.field, "description": violation.description} for violation in error.violations
        ]
    return details


@contextmanager
def _told(caller: Caller) -> Iterator[None]:
    """Turn what is raised into a JSON-RPC error; a fault of ours leaves masked."""
    try:
        yield
    except MCPError:
        raise
    except ServiceError as error:
        raise _refusal(error) from None
    except Exception:
        _log.exception("internal error", request_id=caller.request_id)
        raise _refusal(Internal(caller.request_id)) from None


def _refusal(error: ServiceError) -> MCPError:
    if isinstance(error, ToolNotFound | PermissionMissing | PageTokenInvalid):
        code = INVALID_PARAMS
    else:
        code = INTERNAL_ERROR if isinstance(error, Internal) else REFUSED
    return MCPError(code, error.message, _details(error))
