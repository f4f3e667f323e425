"""From what an outside server says of its tools to tools of the catalogue.

Nothing of it is trusted: names, descriptions and schemas are cut to what the
catalogue can hold, and its claims never make a tool safer than the operator says.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import jsonschema
from mcp_types import Tool as OutsideTool
from pydantic import ConfigDict

from services.rpc.errors import FieldViolation
from services.tools.catalogue import (
    Arguments,
    Category,
    LoopCall,
    SafetyLevel,
    Tool,
    compact_json,
)
from services.tools.errors import InvalidArguments
from services.tools.mcp.outcome import OutsideResult
from services.tools.mcp.schema_check import Faults, SchemaCheck, check_arguments
from services.tools.settings import McpServerSetting

MAX_NAME_CHARACTERS = 64
MAX_DESCRIPTION_CHARACTERS = 1024
MAX_SCHEMA_BYTES = 32 * 2**10
MAX_SCHEMA_DEPTH = 24

_DIGEST_CHARACTERS = 8
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_EMPTY_SCHEMA = '{"type":"object"}'
_WORDS = frozenset({"title", "description", "$comment"})

Ask = Callable[[str, dict[str, Any], LoopCall], Awaitable[OutsideResult]]
"""Calls a tool of the server by its own name."""


class OutsideArguments(Arguments):
    """What an outside tool takes: what its server's schema says, which a worker checks."""

    model_config = ConfigDict(extra="allow")

    @property
    def values(self) -> dict[str, Any]:
        """The arguments as they came."""
        return dict(self.model_extra or {})


class SchemaUnusable(Exception):
    """A tool's schema cannot be taken; the message says why."""


def catalogued(
    server: str, setting: McpServerSetting, found: Iterable[OutsideTool], ask: Ask, problem: str
) -> list[Tool]:
    """The tools of a server as the catalogue holds them. Can take a while: run it in a thread.

    Args:
        server: The server's name.
        setting: How its tools are held.
        found: What the server says there is; of two with a name the first counts.
        ask: Calls one of them.
        problem: Why none of them can be called now; empty where they can.
    """
    tools: dict[str, Tool] = {}
    for each in found:
        name = tool_name(server, each.name)
        if name not in tools:
            tools[name] = _tool(name, server, setting, each, ask, problem)
    return list(tools.values())


def tool_name(server: str, name: str) -> str:
    """The name of a server's tool in the catalogue; one that had to be changed gets a digest of its own."""
    plain = f"mcp__{server}__{_ILLEGAL.sub('_', name)}"
    if plain == f"mcp__{server}__{name}" and name and len(plain) <= MAX_NAME_CHARACTERS:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    return f"{plain[: MAX_NAME_CHARACTERS - _DIGEST_CHARACTERS - 1]}_{digest}"


def _tool(
    name: str, server: str, setting: McpServerSetting, found: OutsideTool, ask: Ask, problem: str
) -> Tool:
    schema: dict[str, Any] = {}
    try:
        schema = usable_schema(found.input_schema)
    except SchemaUnusable as error:
        problem = problem or str(error)
    own_name = found.name

    async def run(arguments: OutsideArguments, call: LoopCall) -> OutsideResult:
        values = arguments.values
        await _check(name, schema, values, call)
        return await ask(own_name, values, call)

    return Tool(
        name=name,
        category=Category.MCP,
        description=_description(server, found.description or ""),
        arguments=OutsideArguments,
        result=OutsideResult,
        run=run,
        safety=safety_of(found, setting),
        timeout_seconds=setting.timeout_seconds,
        max_output_bytes=setting.max_output_bytes,
        idempotent=_trusted(setting) and bool(found.annotations and found.annotations.idempotent_hint),
        unavailable=problem,
        parameters_schema=compact_json(schema) if schema else _EMPTY_SCHEMA,
    )


async def _check(name: str, schema: dict[str, Any], values: dict[str, Any], call: LoopCall) -> None:
    """Hold arguments to the server's schema, in a worker."""
    checked = await call.compute(check_arguments, SchemaCheck(json_schema=schema, value=values))
    assert isinstance(checked, Faults)  # noqa: S101 - the part says so
    if checked.faults:
        violations = [
            FieldViolation(fault.path.removeprefix("$").removeprefix(".") or "arguments", fault.message)
            for fault in checked.faults
        ]
        told = "; ".join(f"{each.field}: {each.description}" for each in violations[:3])
        raise InvalidArguments(name, f"The arguments do not fit {name}: {told}.", violations)


def safety_of(found: OutsideTool, setting: McpServerSetting) -> SafetyLevel:
    """How much harm a tool could do: what its server says, but never less than the operator says."""
    claims = found.annotations
    if claims is not None and claims.read_only_hint:
        claimed = SafetyLevel.SAFE
    elif claims is not None and claims.destructive_hint is False:
        claimed = SafetyLevel.RESTRICTED
    else:
        claimed = SafetyLevel.DANGEROUS
    least = SafetyLevel[setting.lowest_safety_level.upper()]
    return max(claimed, least, key=lambda level: level.value)


def _trusted(setting: McpServerSetting) -> bool:
    """Whether the operator takes the server at its word."""
    return setting.lowest_safety_level == "safe"


def _description(server: str, text: str) -> str:
    told = cleaned(text, MAX_DESCRIPTION_CHARACTERS) or "It says nothing of what it does."
    return f"A tool of the outside MCP server {server}. {told}"


def cleaned(text: str, limit: int) -> str:
    """Text without characters that control terminals or the direction of reading, cut to a length."""
    kept = "".join(
        letter if letter == "\n" or unicodedata.category(letter)[0] != "C" else " "
        for letter in text[: 2 * limit]
    ).strip()
    return kept if len(kept) <= limit else f"{kept[:limit]}…"


def usable_schema(schema: Any) -> dict[str, Any]:
    """A tool's schema, with its words cleaned.

    Raises:
        SchemaUnusable: It is too large, too deep, no schema of an object, or refers outside itself.
    """
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (ValueError, RecursionError):
        raise SchemaUnusable("its schema is no JSON") from None
    if size > MAX_SCHEMA_BYTES:
        raise SchemaUnusable(f"its schema is larger than {MAX_SCHEMA_BYTES} bytes")
    made = _rewritten(schema, MAX_SCHEMA_DEPTH)
    if not isinstance(made, dict) or made.get("type", "object") != "object":
        raise SchemaUnusable("its schema is not one of an object")
    made = {"type": "object", **made}
    try:
        jsonschema.Draft202012Validator.check_schema(made)
    except (jsonschema.SchemaError, RecursionError):
        raise SchemaUnusable("its schema is no JSON Schema (2020-12)") from None
    return made


def _rewritten(value: Any, depth: int) -> Any:
    """A part of a schema, cleaned."""
    if depth == 0:
        raise SchemaUnusable(f"its schema is deeper than {MAX_SCHEMA_DEPTH} levels")
    if isinstance(value, list):
        return [_rewritten(each, depth - 1) for each in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for key, each in value.items():
        if key in ("$ref", "$dynamicRef") and isinstance(each, str) and not each.startswith("#"):
            raise SchemaUnusable("its schema refers outside itself")
        if key in _WORDS and isinstance(each, str):
            made[key] = cleaned(each, MAX_DESCRIPTION_CHARACTERS)
        else:
            made[key] = _rewritten(each, depth - 1)
    return made
