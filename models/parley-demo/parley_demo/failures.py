"""Requests whose tool fails or is not offered."""

import json
from dataclasses import replace

from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import Stock

MESSAGES: dict[str, tuple[str, ...]] = {
    "FILE_NOT_FOUND": ("There is no file {target} in the workspace.", "No such file: {target}.", "{target} was not found."),
    "DIRECTORY_NOT_FOUND": ("There is no folder {target} in the workspace.", "No such folder: {target}."),
    "PATH_NOT_ALLOWED": ("{target} lies outside the workspace.", "The path {target} may not be read."),
    "INVALID_ARGUMENTS": ("The argument {target} is not valid.", "{target} is not what the tool expects.", "{words}"),
    "DIVISION_BY_ZERO": ("Division by zero.", "The expression divides by zero.", "Cannot divide {target} by zero."),
    "UNKNOWN_TIMEZONE": ("There is no time zone for {target}.", "Unknown city or zone: {target}."),
    "TOOL_TIMEOUT": ("The tool {tool} took longer than {number} s.", "{tool} did not answer within {number} seconds."),
    "TOOL_FAILED": ("The tool {tool} failed.", "{tool} failed: {words}", "{words}"),
    "TOOLS_UNAVAILABLE": ("The tools service cannot be reached.", "Tools are down, try again in {number} s.", "{words}"),
    "RESOURCE_LIMIT": ("{target} is larger than {number} bytes.", "Too much output from {tool}."),
}


def error_answer(result: str) -> str:
    """What the model says of a failed call: the tool's own message."""
    return f"That did not work: {json.loads(result)['error']['message']}"


def failed(stock: Stock, request: Request) -> Request:
    """The same request with its one call failing."""
    call = request.calls[0]
    reason = stock.rng.choice(sorted(MESSAGES))
    target = str(next(iter(call.arguments.values()), "UTC"))
    parts = {"target": target, "tool": call.name, "number": stock.number(2), "words": stock.sentence()}
    message = stock.rng.choice(MESSAGES[reason]).format(**parts)
    result = compact({"error": {"reason": reason, "message": message}})
    return replace(
        request, kind="tool error", calls=(Call(call.name, call.arguments, result),), answer=error_answer(result)
    )


def not_offered(request: Request) -> Request:
    """The same request where its tool is not among those offered."""
    name = request.calls[0].name
    return replace(
        request,
        kind="not offered",
        calls=(),
        answer=f"I would need the tool {name} for that, and it is not offered here.",
        thought=f"{thought_of(request.calls)[:-1]}, which is not offered.",
        missing=name,
    )
