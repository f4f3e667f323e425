from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from docs.tool_pages import documented_tools
from parley.tools.v1 import tool_pb2
from services.rpc.errors import PermissionMissing
from services.tools.catalogue import (
    EVERYONE,
    Arguments,
    Catalogue,
    Category,
    Example,
    LoopCall,
    SafetyLevel,
    Tool,
    ToolResult,
    WorkerCall,
    tool,
)
from services.tools.errors import ToolDisabled, ToolNotFound
from tests.conftest import TokenMaker
from tests.tools import sample_tools

ALL = documented_tools()
DATA = ("json_data", "data", "validate_schema", "values", "params")
"""Parameters that hold any JSON, or any finite numbers; the size of all arguments together bounds them."""


class Number(Arguments):
    number: int


class Doubled(ToolResult):
    number: int
    note: str | None = None


@tool(category=Category.MATH, safety=SafetyLevel.SAFE, timeout_seconds=1.5)
def double(arguments: Number, _call: WorkerCall) -> Doubled:
    """Doubles a number.

    Exactly.
    """
    return Doubled(number=2 * arguments.number)


@tool(category=Category.UTILITY, safety=SafetyLevel.SAFE, timeout_seconds=1)
async def nameless(arguments: Number, _call: LoopCall) -> Doubled:
    return Doubled(number=arguments.number)


def test_a_function_says_all_there_is_to_say_of_a_tool() -> None:
    message = double.message
    assert message.name == "double"
    assert message.category == tool_pb2.CATEGORY_MATH
    assert message.description == "Doubles a number.\n\nExactly."
    assert message.safety_level == tool_pb2.SAFETY_LEVEL_SAFE
    assert message.timeout.ToMilliseconds() == 1500
    assert message.max_output_bytes == 65_536
    assert message.idempotent
    assert message.permission == "tools.math.double"
    assert double.in_worker
    assert double.reference == "tests.tools.test_catalogue:double"
    assert not nameless.in_worker


def test_examples_and_what_a_machine_lacks_travel_too(tokens: TokenMaker) -> None:
    example = Example("Twice three", {"number": 3}, {"number": 6})
    shown = replace(double, examples=(example,), unavailable="it has no fingers")
    assert shown.message.examples[0].arguments == '{"number":3}'
    assert shown.message.examples[0].result == '{"number":6}'
    assert shown.message.unavailable == "it has no fingers"
    catalogue = Catalogue((shown,))
    assert catalogue.find("double", tokens.principal("*")) is shown
    with pytest.raises(ToolDisabled, match="it has no fingers"):
        catalogue.find_callable("double", tokens.principal("*"))


def test_schemas_are_plain_and_compact() -> None:
    assert json.loads(double.message.parameters_schema) == {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
        "additionalProperties": False,
    }
    assert ": " not in double.message.parameters_schema


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_every_built_in_schema_is_json_schema_2020_12(entry: object) -> None:
    for text in (entry.message.parameters_schema, entry.message.result_schema):
        Draft202012Validator.check_schema(json.loads(text))
        assert '"title":"' not in text  # that word of the schema; fields may be called so


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_every_parameter_of_a_built_in_tool_is_described_and_bounded(entry: Tool) -> None:
    schema = json.loads(entry.message.parameters_schema)
    assert [name for name, field in schema["properties"].items() if not field.get("description")] == []
    parts = [(name, part) for name, field in schema["properties"].items() for part in parts_of(field, schema)]
    assert [name for name, part in parts if not is_bounded(part) and name not in DATA] == []


def parts_of(field: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A field's schema and those within it."""
    field = schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
    yield field
    within = [*field.get("anyOf", ()), *field.get("properties", {}).values()]
    for inner in (*within, field.get("items"), field.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from parts_of(inner, schema)


def is_bounded(part: dict[str, Any]) -> bool:
    match part.get("type"):
        case "string":
            return not part.keys().isdisjoint(("maxLength", "enum", "pattern", "const"))
        case "integer" | "number":
            return "minimum" in part and not part.keys().isdisjoint(("maximum", "exclusiveMaximum"))
        case "array":
            return "maxItems" in part
        case "object":
            return "maxProperties" in part or part.get("additionalProperties") is False
    return "anyOf" in part or "enum" in part or part.get("type") in ("boolean", "null")


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_the_examples_of_every_built_in_tool_meet_its_schema(entry: object) -> None:
    properties = json.loads(entry.message.parameters_schema)["properties"]
    required = json.loads(entry.message.parameters_schema).get("required", [])
    example = {name: properties[name]["examples"][0] for name in properties if "examples" in properties[name]}
    assert set(required) <= example.keys()
    Draft202012Validator(json.loads(entry.message.parameters_schema)).validate(example)
    entry.arguments.model_validate(example)


def test_results_leave_out_what_is_none() -> None:
    assert Doubled(number=2).to_json() == '{"number":2}'


def test_names_are_unique_and_descriptions_required() -> None:
    with pytest.raises(ValueError, match="double"):
        Catalogue((double, double))
    with pytest.raises(ValueError, match="nameless"):
        Catalogue((nameless,))


def test_a_tool_is_found_by_its_name(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double, *sample_tools.TOOLS))
    assert catalogue.find("double", tokens.principal("tools.math.*")) is double
    assert len(list(catalogue)) == 13
    assert catalogue.worker_modules == ["tests.tools.sample_tools", "tests.tools.test_catalogue"]


def test_the_nearest_name_is_one_that_the_caller_may_use(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double, *sample_tools.TOOLS))
    with pytest.raises(ToolNotFound) as caught:
        catalogue.find("duble", tokens.principal("tools.*"))
    assert caught.value.metadata == {"tool": "duble", "nearest": "double"}
    with pytest.raises(ToolNotFound) as caught:
        catalogue.find("duble", tokens.principal("tools.utility.*"))
    assert caught.value.metadata["nearest"] == ""


def test_a_tool_is_not_found_for_those_who_may_not_use_it(tokens: TokenMaker) -> None:
    with pytest.raises(PermissionMissing) as caught:
        Catalogue((double,)).find("double", tokens.principal("tools.file.*"))
    assert caught.value.metadata == {"permission": "tools.math.double"}


def test_only_permitted_tools_are_listed_by_name_and_category(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double, *sample_tools.TOOLS))
    everyone = tokens.principal("*")
    names = [entry.name for entry in catalogue.permitted(everyone, 0, "")]
    assert names == sorted(names)
    assert [entry.name for entry in catalogue.permitted(everyone, Category.SYSTEM.value, "")] == ["hanging"]
    assert [entry.name for entry in catalogue.permitted(tokens.principal("tools.math.*"), 0, "")] == [
        "double"
    ]
    assert [entry.name for entry in catalogue.permitted(everyone, 0, "printing")] == ["stepping", "waiting"]


def named(name: str) -> Tool:
    return replace(double, name=name)


def test_tools_that_are_brought_are_seen_by_their_tenant_or_by_all(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double,))
    catalogue.bring("tenant-1", "a", [named("own"), named("mine")])
    catalogue.bring(EVERYONE, "b", [named("shared")])
    catalogue.bring("tenant-2", "a", [named("own")])
    seen = {
        tenant: [tool.name for tool in catalogue.permitted(tokens.principal("*", tenant_id=tenant), 0, "")]
        for tenant in ("tenant-1", "tenant-2", "tenant-3")
    }
    assert seen == {
        "tenant-1": ["double", "mine", "own", "shared"],
        "tenant-2": ["double", "own", "shared"],
        "tenant-3": ["double", "shared"],
    }
    with pytest.raises(ToolNotFound):
        catalogue.find("mine", tokens.principal("*", tenant_id="tenant-2"))
    catalogue.bring("tenant-1", "a", [named("other")])
    catalogue.bring(EVERYONE, "b", ())
    later = catalogue.permitted(tokens.principal("*", tenant_id="tenant-1"), 0, "")
    assert [tool.name for tool in later] == ["double", "other"]


def test_a_reader_sees_the_tools_of_one_moment(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double,))
    catalogue.bring(EVERYONE, "a", [named("one"), named("two")])
    reading = catalogue.permitted(tokens.principal("*"), 0, "")
    first = next(reading).name
    catalogue.bring(EVERYONE, "a", [named("three")])
    assert [first, *(tool.name for tool in reading)] == ["double", "one", "two"]


def test_a_name_that_is_taken_changes_nothing(tokens: TokenMaker) -> None:
    catalogue = Catalogue((double,))
    catalogue.bring("tenant-1", "a", [named("one")])
    for tenant, source, name in (("tenant-1", "b", "one"), (EVERYONE, "b", "one"), (EVERYONE, "b", "double")):
        with pytest.raises(ValueError, match=name):
            catalogue.bring(tenant, source, [named(name)])
    seen = catalogue.permitted(tokens.principal("*", tenant_id="tenant-1"), 0, "")
    assert [tool.name for tool in seen] == ["double", "one"]
