"""Tools that look into JSON."""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue, model_validator

from services.tools.builtin.file import MAX_PATH_CHARACTERS
from services.tools.builtin.formats import plain, read
from services.tools.builtin.sources import MAX_DATA_CHARACTERS, one_source, read_source
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import DataInvalid, QueryInvalid, quoted

MAX_TOLD_FAULTS = 20
MAX_JSON_PATH_CHARACTERS = 1000
MAX_OUTPUT_BYTES = 2**20


class JsonParseArguments(Arguments):
    """What `json_parse` takes."""

    json_string: str | None = Field(
        None, max_length=MAX_DATA_CHARACTERS, description="The JSON text.", examples=['{"name": "Ada"}']
    )
    file_path: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Instead of json_string: a JSON file of the workspace.",
    )
    validate_schema: dict[str, JsonValue] | None = Field(
        None, description="A JSON Schema (2020-12) that the value should meet."
    )

    @model_validator(mode="after")
    def _one_source(self) -> JsonParseArguments:
        one_source(self.json_string, self.file_path)
        return self


class SchemaFault(ToolResult):
    """Where the value breaks the schema."""

    path: str = Field(description="Where, as a JSON path from $.")
    message: str = Field(description="What is wrong there.")


class JsonParseResult(ToolResult):
    """What `json_parse` gives."""

    type: str = Field(description="object, array, string, number, boolean or null.")
    value: JsonValue = Field(None, description="The value.")
    meets_schema: bool | None = Field(None, description="Whether it meets the schema, if one was given.")
    faults: list[SchemaFault] | None = Field(None, description="Where it does not.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=10,
    max_output_bytes=MAX_OUTPUT_BYTES,
    examples=(
        Example(
            "Read JSON",
            {"json_string": '{"name": "Ada", "age": 36}'},
            {"type": "object", "value": {"name": "Ada", "age": 36}},
        ),
        Example(
            "Check it against a schema",
            {"json_string": '{"age": -1}', "validate_schema": {"properties": {"age": {"minimum": 0}}}},
            {
                "type": "object",
                "value": {"age": -1},
                "meets_schema": False,
                "faults": [{"path": "$.age", "message": "-1 is less than the minimum of 0"}],
            },
        ),
    ),
)
def json_parse(arguments: JsonParseArguments, call: WorkerCall) -> JsonParseResult:
    """Reads JSON strictly, and checks it against a JSON Schema if one is given."""
    text = read_source(call, "json_parse", arguments.json_string, arguments.file_path)
    value = read("json", text, "json_parse")
    if arguments.validate_schema is None:
        return JsonParseResult(type=_type(value), value=value)
    faults = _faults(value, arguments.validate_schema)
    return JsonParseResult(type=_type(value), value=value, meets_schema=not faults, faults=faults or None)


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _faults(value: Any, schema: dict[str, Any]) -> list[SchemaFault]:
    """Where the value breaks the schema; references out of the schema are not followed."""
    import jsonschema
    import referencing
    from referencing.exceptions import Unresolvable

    kind = jsonschema.Draft202012Validator
    try:
        kind.check_schema(schema)
        found = kind(schema, registry=referencing.Registry()).iter_errors(value)
        return [
            SchemaFault(path=fault.json_path, message=quoted(fault.message))
            for fault, _ in zip(found, range(MAX_TOLD_FAULTS), strict=False)
        ]
    except jsonschema.SchemaError as error:
        raise DataInvalid("json_parse", "JSON Schema", error.message) from None
    except Unresolvable as error:
        raise DataInvalid("json_parse", "JSON Schema", f"a reference leads nowhere: {error}") from None
    except RecursionError:
        raise DataInvalid("json_parse", "JSON Schema", "it refers to itself without end") from None


class JsonQueryArguments(Arguments):
    """What `json_query` takes."""

    data: JsonValue = Field(None, description="The JSON value.", examples=[{"users": [{"name": "Ada"}]}])
    file_path: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Instead of data: a JSON file of the workspace.",
    )
    path: str = Field(
        min_length=1,
        max_length=MAX_JSON_PATH_CHARACTERS,
        description="What to pick, as a JMESPath expression.",
        examples=["users[?age > `30`].name", "users[0].name"],
    )

    @model_validator(mode="after")
    def _one_source(self) -> JsonQueryArguments:
        one_source(True if "data" in self.model_fields_set else None, self.file_path)
        return self


class JsonQueryResult(ToolResult):
    """What `json_query` gives."""

    path: str = Field(description="The expression, as it was given.")
    found: bool = Field(description="Whether the expression picks anything.")
    result: JsonValue = Field(None, description="What it picks.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=10,
    max_output_bytes=MAX_OUTPUT_BYTES,
    examples=(
        Example(
            "The names of those over 30",
            {
                "data": {"users": [{"name": "Ada", "age": 36}, {"name": "Bo", "age": 20}]},
                "path": "users[?age > `30`].name",
            },
            {"path": "users[?age > `30`].name", "found": True, "result": ["Ada"]},
        ),
    ),
)
def json_query(arguments: JsonQueryArguments, call: WorkerCall) -> JsonQueryResult:
    """Picks parts of JSON data with a JMESPath expression."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    data: Any = arguments.data
    if arguments.file_path is not None:
        data = read("json", read_source(call, "json_query", None, arguments.file_path), "json_query")
    try:
        result = plain(jmespath.search(arguments.path, data))
    except JMESPathError as error:
        raise QueryInvalid("json_query", quoted(" ".join(str(error).split()))) from None
    except (RecursionError, OverflowError, TypeError, ValueError) as error:
        raise QueryInvalid("json_query", quoted(str(error)) or "it is nested too deeply.") from None
    return JsonQueryResult(path=arguments.path, found=result is not None, result=result)


TOOLS = (json_parse, json_query)
