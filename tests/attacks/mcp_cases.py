"""The same tools by another door: calls as a client of the Model Context Protocol makes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from tests.attacks.tool_target import OK, Outcome, ToolAttack, ToolTarget
from tests.edge.answers import refusal

ACCEPT = {"accept": "application/json, text/event-stream"}
# MCP tells reasons; these are the codes that the same errors have elsewhere, and in the audit.
CODES = {
    "PERMISSION_MISSING": "PERMISSION_DENIED",
    "PATH_NOT_ALLOWED": "PERMISSION_DENIED",
    "TOKEN_MISSING": "UNAUTHENTICATED",
}
SUM = {"expression": "1 + 1"}


async def called(
    target: ToolTarget, headers: Mapping[str, str], tool: str, arguments: Mapping[str, object]
) -> Outcome:
    """How `tools/call` ends for whoever has these headers."""
    call = {"name": tool, "arguments": dict(arguments)}
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    answer = await target.platform.client.post("/mcp", json=asked, headers={**ACCEPT, **headers})
    request_id = answer.headers["x-request-id"]
    if answer.status_code != httpx.codes.OK:
        reason = refusal(answer).reason
        return Outcome(CODES[reason], reason, answer.text, request_id)
    told = _told(answer)
    error = told["error"]["data"] if "error" in told else told["result"].get("_meta", {}).get("parley/error")
    if error is not None:
        return Outcome(CODES[error["reason"]], error["reason"], answer.text, request_id)
    return Outcome(OK, told=answer.text, request_id=request_id, result=told["result"])


def _told(answer: httpx.Response) -> dict[str, Any]:
    """The response to the request, in the body or as the last of its events."""
    if answer.headers["content-type"].startswith("application/json"):
        return dict(answer.json())
    events = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    return dict(json.loads(events[-1]))


async def without_a_credential(target: ToolTarget) -> Outcome:
    return await called(target, {}, "calculator", SUM)


async def beyond_the_keys_scope(target: ToolTarget) -> Outcome:
    """A key of a user who may do more than the key."""
    headers = await target.key("user", "tools.list", "tools.execute", "tools.math.*")
    return await called(target, headers, "file_write", {"file_path": "stolen.txt", "content": "x"})


async def within_the_keys_scope(target: ToolTarget) -> Outcome:
    headers = await target.key("user", "tools.list", "tools.execute", "tools.math.*")
    return await called(target, headers, "calculator", SUM)


async def upwards(target: ToolTarget) -> Outcome:
    return await called(target, target.person("user").headers, "file_read", {"file_path": "../../secret.txt"})


async def own_folder(target: ToolTarget) -> Outcome:
    return await called(target, target.person("user").headers, "file_list", {})


MCP = (
    ToolAttack(
        "a call by MCP without a credential",
        without_a_credential,
        ("UNAUTHENTICATED", "TOKEN_MISSING"),
        within_the_keys_scope,
    ),
    ToolAttack(
        "a call by MCP beyond the key's scope",
        beyond_the_keys_scope,
        ("PERMISSION_DENIED", "PERMISSION_MISSING"),
        within_the_keys_scope,
    ),
    ToolAttack(
        "a path that leads upwards by MCP", upwards, ("PERMISSION_DENIED", "PATH_NOT_ALLOWED"), own_folder
    ),
)
