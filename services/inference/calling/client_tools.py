"""Reads the tools that clients bring."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from services.inference.calling.errors import ClientToolInvalid
from services.inference.engine.turn import ToolSpec

MAX_DEPTH = 32


def client_tool(name: str, description: str, schema_text: str) -> ToolSpec:
    """A tool as the model is told of it.

    What a chat template reads of the schema is checked here. The rest means
    something to the client alone: a validator for the whole of JSON Schema
    would hold up every other run for a quarter of a second a tool.

    Raises:
        ClientToolInvalid: The schema is none of an object, or too deep.
    """
    try:
        schema = json.loads(schema_text or "{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ClientToolInvalid(name, "it is no JSON, or too deep") from None
    if not isinstance(schema, dict):
        raise ClientToolInvalid(name, "it is no JSON object")
    if depth(schema) > MAX_DEPTH:
        raise ClientToolInvalid(name, f"it is more than {MAX_DEPTH} levels deep")
    _check_object(name, schema)
    return ToolSpec(name, description, {"type": "object", **schema})


def is_object(arguments: str) -> bool:
    """Whether a call's arguments are a JSON object; empty ones stand for one."""
    if not arguments.strip():
        return True
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _check_object(name: str, schema: dict[str, Any]) -> None:
    """Check the keywords that say what an object is (JSON Schema 2020-12).

    Raises:
        ClientToolInvalid: One is not what it must be.
    """
    if schema.get("type", "object") != "object":
        raise ClientToolInvalid(name, "its type is not 'object'")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise ClientToolInvalid(name, "properties is no object")
    for field, about in properties.items():
        if not isinstance(about, dict | bool):
            raise ClientToolInvalid(name, f"properties.{field} is no schema")
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(field, str) for field in required):
        raise ClientToolInvalid(name, "required is no list of names")


def depth(value: Any) -> int:
    """Levels of objects and lists, found level by level."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            part
            for outer in level
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity (RFC 8259)."""
    raise ValueError(name)
