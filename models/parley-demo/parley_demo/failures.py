"""Requests whose tool fails or is not offered."""

import json
from dataclasses import replace

from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import Stock

MESSAGES: dict[str, tuple[str, ...]] = {
    "FILE_NOT_FOUND": (
        "There is no file {target} in the workspace.",
        "There is no folder {target} in the workspace.",
        "{target} was not found.",
    ),
    "PATH_NOT_ALLOWED": (
        "The path '{target}' cannot be used: {words}",
        "{target} lies outside the workspace.",
    ),
    "INVALID_ARGUMENTS": ("The argument {target} is not valid.", "{words}"),
    "EXPRESSION_INVALID": (
        "The expression divides by zero.",
        "The expression is not valid arithmetic; check brackets and operators.",
        "A number in the expression becomes too large.",
    ),
    "DIVISION_BY_ZERO": ("Division by zero.", "Cannot divide {target} by zero."),
    "TIMEZONE_UNKNOWN": (
        "No time zone is called {target}. Did you mean {place}?",
        "No time zone is called {target}. Use a city or an IANA name like Asia/Seoul.",
    ),
    "TOOL_TIMEOUT": (
        "{tool} was stopped because it took longer than {number} s.",
        "The tool {tool} took too long.",
    ),
    "TOOL_FAILED": ("{tool} failed: {words}", "{words}"),
    "TOOL_DISABLED": ("{tool} is switched off: {words}",),
    "TOOLS_UNAVAILABLE": (
        "The tools service cannot be reached.",
        "Tools are down, try again in {number} s.",
        "{words}",
    ),
    "OUTPUT_TOO_LARGE": ("The output of {tool} is larger than {number} bytes; ask for less.",),
}


def error_answer(result: str) -> str:
    """What the model says of a failed call: the tool's own message."""
    return f"That did not work: {json.loads(result)['error']['message']}"


def failed(stock: Stock, request: Request) -> Request:
    """The same request with its one call failing."""
    call = request.calls[0]
    reason = stock.rng.choice(sorted(MESSAGES))
    target = str(next(iter(call.arguments.values()), "UTC"))
    parts = {"target": target, "tool": call.name, "number": stock.number(2)}
    parts |= {"words": stock.sentence(), "place": stock.city()}
    message = stock.rng.choice(MESSAGES[reason]).format(**parts)
    result = compact({"error": {"reason": reason, "message": message}})
    return replace(
        request,
        kind="tool error",
        calls=(Call(call.name, call.arguments, result),),
        answer=error_answer(result),
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
