"""An outside MCP server made with the SDK, good and bad at once: `outside_server.py [http PORT]`.

Without arguments it speaks over its standard streams. FOLDER in its environment
is where it leaves notes of what happened to it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ToolsListChanged

FOLDER = Path(os.environ.get("FOLDER", "/nonexistent"))
OBJECT: dict[str, Any] = {"type": "object"}
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 10}},
    "required": ["text"],
    "additionalProperties": False,
}
CATASTROPHE = {"type": "object", "properties": {"text": {"type": "string", "pattern": "^(a+)+$"}}}
DEEP: dict[str, Any] = {"type": "object"}
for _ in range(40):
    DEEP = {"type": "object", "properties": {"down": DEEP}}
READ_ONLY = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True)
GENTLE = types.ToolAnnotations(destructive_hint=False)


def tool(name: str, schema: Any = OBJECT, description: str = "Does it.", **more: Any) -> types.Tool:
    return types.Tool(name=name, description=description, input_schema=schema, **more)


TOOLS = [
    tool("echo", TEXT, "Says it again.", annotations=READ_ONLY),
    tool("gentle", annotations=GENTLE),
    tool("environment"),
    tool("headers"),
    tool("fails"),
    tool("refuses"),
    tool("dies"),
    tool("orphan"),
    tool("waits"),
    tool("steps"),
    tool("flood"),
    tool("grows"),
    tool("big"),
    tool("huge"),
    tool("picture"),
    tool("asks"),
    tool("slow_pattern", CATASTROPHE),
    tool("far", {"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/schema"}}}),
    tool("deep", DEEP),
    tool("fat", {"type": "object", "description": "x" * 100_000}),
    tool("wrong", {"type": "object", "properties": {"a": {"type": 7}}}),
    tool("../../etc/passwd", description="\x1b[31mred\x1b[0m \u202ebackwards " + "long " * 1000),
    tool("a" * 200),
    tool("a" * 200 + "b"),
    tool("twice", description="The first."),
    tool("twice", description="The second."),
]


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


def said(text: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], **more)


async def call_tool(context: Any, params: types.CallToolRequestParams) -> Any:
    arguments = params.arguments or {}
    match params.name:
        case "echo":
            return said(arguments["text"], structured_content={"said": arguments["text"]})
        case "environment":
            return said(json.dumps(dict(os.environ)))
        case "headers":
            return said(json.dumps(dict(context.request.headers)) if context.request else "{}")
        case "fails":
            return said("the disk is on fire", is_error=True)
        case "refuses":
            raise MCPError(-32001, "not today \x1b[31m")
        case "dies":
            os._exit(1)
        case "orphan":
            return said(str(orphan()))
        case "waits":
            return await wait()
        case "steps":
            for number in range(3):
                await context.session.report_progress(number + 1, 3, f"step {number + 1}")
            return said("done")
        case "flood":
            for number in range(300):
                await context.session.report_progress(number, None, "x" * 1000)
            return said("done")
        case "grows":
            TOOLS.append(tool("grown"))
            await BUS.publish(ToolsListChanged())
            await context.session.send_tool_list_changed()
            return said("grown")
        case "big":
            return said("x" * 200_000)
        case "huge":
            return said("x" * 5_000_000)
        case "picture":
            return picture()
        case "asks":
            await context.session.list_roots()
            return said("was answered")
        case _:
            return said("ok")


def orphan() -> int:
    """A child that outlives its parent, if nobody ends it."""
    return subprocess.Popen(["/bin/sleep", "600"]).pid


async def wait() -> types.CallToolResult:
    (FOLDER / "waiting").touch()
    try:
        await asyncio.Event().wait()
    finally:
        (FOLDER / "cancelled").touch()
    return said("never")


def picture() -> types.CallToolResult:
    text = types.TextResourceContents(uri="note://1", mime_type="text/plain", text="a note")
    return types.CallToolResult(
        content=[
            types.ImageContent(data=base64.b64encode(b"12345").decode(), mime_type="image/png"),
            types.EmbeddedResource(resource=text),
            types.ResourceLink(name="there", uri="https://example.com/a.pdf", size=7),
        ]
    )


BUS = InMemorySubscriptionBus()
SERVER: Server[Any] = Server(
    "outside",
    version="1",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_subscriptions_listen=ListenHandler(BUS),
)


async def over_streams() -> None:
    async with stdio_server() as (incoming, outgoing):
        options = SERVER.create_initialization_options(NotificationOptions(tools_changed=True))
        if "OLDER" in os.environ:  # Then there is the handshake alone.
            await serve_loop(SERVER, incoming, outgoing, lifespan_state={}, init_options=options)
        else:
            await SERVER.run(incoming, outgoing, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["http"]:
        uvicorn.run(SERVER.streamable_http_app(), port=int(sys.argv[2]), log_level="error")
    else:
        asyncio.run(over_streams())
