"""Arguments against a schema that a stranger wrote.

A schema can make its check take for ever, so it runs in a worker, which is
killed when it does.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import quoted

MAX_FAULTS = 8


class SchemaCheck(Arguments):
    """A value and what it should meet."""

    json_schema: dict[str, Any] = Field(description="The JSON Schema (2020-12).")
    value: dict[str, Any] = Field(description="The value.")


class Fault(ToolResult):
    """Where the value breaks the schema."""

    path: str = Field(description="Where, as a JSON path from $.")
    message: str = Field(description="What is wrong there.")


class Faults(ToolResult):
    """Where the value breaks the schema; nowhere, if it meets it."""

    faults: list[Fault]


@tool(category=Category.MCP, safety=SafetyLevel.SAFE, timeout_seconds=5)
def check_arguments(arguments: SchemaCheck, _call: WorkerCall) -> Faults:
    """Checks arguments against a tool's schema; references out of the schema are not followed."""
    import jsonschema
    import referencing
    from referencing.exceptions import Unresolvable

    kind = jsonschema.validators.validator_for(arguments.json_schema, jsonschema.Draft202012Validator)
    checker = kind(arguments.json_schema, registry=referencing.Registry())
    try:
        found = [
            Fault(path=fault.json_path, message=quoted(fault.message))
            for fault, _ in zip(checker.iter_errors(arguments.value), range(MAX_FAULTS), strict=False)
        ]
    except (Unresolvable, RecursionError, ValueError, TypeError, AttributeError):
        found = [Fault(path="$", message="the tool's own schema cannot be followed")]
    return Faults(faults=found)
