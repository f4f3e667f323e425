from __future__ import annotations

import json

import pytest

from services.inference.calling.client_tools import MAX_DEPTH, client_tool, is_object
from services.inference.calling.errors import ClientToolInvalid


def nested(levels: int) -> str:
    """A schema of this many levels."""
    return '{"items":' * (levels - 1) + "{}" + "}" * (levels - 1)


def test_a_schema_reaches_the_model_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "anything": True},
        "required": ["city"],
    }
    tool = client_tool("weather", "Tells the weather.", json.dumps(schema))
    assert (tool.name, tool.description, tool.parameters) == ("weather", "Tells the weather.", schema)


def test_without_a_schema_any_object_will_do() -> None:
    assert client_tool("ping", "", "").parameters == {"type": "object"}


def test_a_schema_may_be_as_deep_as_the_bound() -> None:
    assert client_tool("deep", "", nested(MAX_DEPTH)).parameters["items"]


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ("{", "no JSON"),
        ('{"a": NaN}', "no JSON"),
        ("[]", "no JSON object"),
        ('"text"', "no JSON object"),
        ('{"type": "array"}', "its type is not 'object'"),
        ('{"type": ["object", "null"]}', "its type is not 'object'"),
        ('{"properties": []}', "properties is no object"),
        ('{"properties": {"a": 1}}', "properties.a is no schema"),
        ('{"required": "a"}', "required is no list"),
        ('{"required": [1]}', "required is no list"),
        (nested(MAX_DEPTH + 1), "levels deep"),
        ("[" * 8000 + "]" * 8000, "too deep"),
    ],
)
def test_what_is_no_schema_of_an_object_is_refused_by_name(schema: str, fault: str) -> None:
    with pytest.raises(ClientToolInvalid) as refused:
        client_tool("weather", "", schema)
    assert fault in refused.value.message
    assert refused.value.metadata == {"tool": "weather"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("{}", True),
        ("", True),
        ('{"a": [1]}', True),
        ("[]", False),
        ('{"a"', False),
        ("null", False),
        ("[" * 9999, False),
    ],
)
def test_arguments_are_an_object_or_nothing(arguments: str, expected: bool) -> None:
    assert is_object(arguments) is expected
