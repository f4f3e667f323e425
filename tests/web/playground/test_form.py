"""Forms made from schemas, and arguments made from forms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parley_client.errors import ParleyError
from services.tools.builtin.rooms import BUILT_IN
from services.tools.catalogue import schema_text
from web.administration.fields import Fields
from web.playground.form import Control, Kind, arguments, arguments_of_json, controls, filled


def form_of(*required: str, **rules: Any) -> tuple[Control, ...]:
    made = controls(json.dumps({"properties": rules, "required": list(required)}))
    assert made is not None
    return made


def sent(**values: str) -> Fields:
    return Fields({f"argument.{name}": [value] for name, value in values.items()})


NULLABLE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None}


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"type": "string", "maxLength": 100}, Kind.LINE),
        ({"type": "string"}, Kind.LINES),
        ({"type": "string", "maxLength": 100, "examples": ["a\nb"]}, Kind.LINES),
        ({"type": "integer"}, Kind.WHOLE),
        (NULLABLE, Kind.WHOLE),
        ({"type": ["number", "null"]}, Kind.NUMBER),
        ({"type": "boolean", "default": False}, Kind.TICK),
        ({"type": "boolean"}, Kind.CHOICE),
        ({"enum": ["a", 1]}, Kind.CHOICE),
        ({"type": "array"}, Kind.JSON),
        ({"type": "object"}, Kind.JSON),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, Kind.JSON),
        (True, Kind.JSON),
    ],
)
def test_each_type_has_its_control(rule: Any, kind: Kind) -> None:
    assert [control.kind for control in form_of(x=rule)] == [kind]


def test_references_are_followed_and_no_further_than_they_lead() -> None:
    definitions = {"Unit": {"enum": ["m", "km"]}, "A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}
    rules = {"unit": {"$ref": "#/$defs/Unit", "default": "km"}, "loop": {"$ref": "#/$defs/A"}}
    made = controls(json.dumps({"$defs": definitions, "properties": rules}))
    assert made is not None
    assert [(it.kind, it.default) for it in made] == [(Kind.CHOICE, '"km"'), (Kind.JSON, "")]


def test_people_read_what_a_value_must_keep_to() -> None:
    (text, number, items, open_end) = form_of(
        text={"type": "string", "minLength": 1, "maxLength": 1000, "pattern": "^a"},
        number={"type": "integer", "minimum": 0, "exclusiveMaximum": 4096},
        items={"type": "array", "items": {"type": "number"}, "maxItems": 3},
        open_end=NULLABLE,
    )
    assert text.bounds == "1 to 1,000 characters, matches ^a"
    assert number.bounds == "at least 0, below 4,096"
    assert (items.type, items.bounds) == ("list of number", "at most 3 items")
    assert open_end.bounds == "at least 1"


@pytest.mark.parametrize(
    "schema", ["[", "[]", '{"properties": 1}', json.dumps({"properties": {str(n): {} for n in range(99)}})]
)
def test_a_schema_that_makes_no_form_makes_none(schema: str) -> None:
    assert controls(schema) is None


def test_values_are_read_by_type() -> None:
    form = form_of(
        text={"type": "string"},
        whole={"type": "integer"},
        number={"type": "number"},
        tick={"type": "boolean", "default": False},
        choice={"enum": ["a", 1]},
        words={"type": "array"},
        anything={},
    )
    given = arguments(
        form,
        sent(
            text=" kept as it is\n",
            whole="18446744073709551616",
            number="2.5e3",
            tick="on",
            choice="1",
            words='["x"]',
            anything='"y"',
        ),
    )
    assert given == {
        "text": " kept as it is\n",
        "whole": 2**64,
        "number": 2500.0,
        "tick": True,
        "choice": 1,
        "words": ["x"],
        "anything": "y",
    }


def test_what_is_left_at_its_default_is_left_out() -> None:
    form = form_of(
        "name",
        name={"type": "string", "maxLength": 10, "default": "x"},
        limit={"type": "integer", "default": 30},
        tick={"type": "boolean", "default": True},
        none=NULLABLE,
    )
    assert arguments(form, filled(form, {})) == {"name": "x"}
    assert arguments(form, sent(name="x", limit="30")) == {"name": "x", "tick": False}


@pytest.mark.parametrize(
    ("rule", "text", "said"),
    [
        ({"type": "integer"}, "1.5", "must be a whole number"),
        ({"type": "integer"}, "9" * 5000 + "x", "must be a whole number"),
        ({"type": "number"}, "NaN", "must be a number"),
        ({"type": "number"}, "1e999", "must be a number"),
        ({"enum": ["a"]}, '"b"', "must be one of the choices"),
        ({"type": "array"}, '{"a": 1}', "must be a list"),
        ({"type": "object"}, "[1]", "must be an object"),
        ({"type": "array"}, "[1", "must be JSON"),
        ({"type": "array"}, "[NaN]", "must be JSON"),
        ({"type": "array"}, "[" * 100_000, ""),
        ({"type": "integer"}, "", "must be there"),
    ],
)
def test_what_is_of_another_type_is_refused_by_name(rule: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(ParleyError) as refused:
        arguments(form_of("x", x=rule), sent(x=text))
    (violation,) = refused.value.violations
    assert violation.field == "x"
    assert said in violation.description


def test_every_fault_is_told_at_once() -> None:
    form = form_of("b", a={"type": "integer"}, b={"type": "number"})
    with pytest.raises(ParleyError) as refused:
        arguments(form, sent(a="one"))
    assert [violation.field for violation in refused.value.violations] == ["a", "b"]


@pytest.mark.parametrize("text", ["[]", "{", "1", '{"a": Infinity}', "[" * 100_000])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ParleyError, match="not called"):
        arguments_of_json(text)
    assert arguments_of_json(' {"a": 1} ') == {"a": 1}


def test_arguments_without_a_place_are_not_lost_in_silence() -> None:
    form = form_of(a={"type": "integer"})
    for given in ({"b": 1},):
        with pytest.raises(ParleyError) as refused:
            filled(form, given)
        assert refused.value.violations[0].field == "b"


@pytest.mark.parametrize("tool", BUILT_IN, ids=lambda tool: tool.name)
def test_every_example_of_every_tool_passes_through_its_form(tool: Any) -> None:
    form = controls(schema_text(tool.arguments, "validation"))
    assert form is not None
    for example in tool.examples:
        given = arguments(form, filled(form, example.arguments))
        assert tool.arguments.model_validate(given) == tool.arguments.model_validate(example.arguments)
