from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from services.tools.arguments import MAX_VIOLATIONS, parse_arguments
from services.tools.catalogue import Arguments, Category, LoopCall, SafetyLevel, ToolResult, tool
from services.tools.errors import InvalidArguments


class Wanted(Arguments):
    text: str = ""
    number: int = Field(0, ge=0, le=10)
    share: float = 0.0
    many: list[int] = []  # noqa: RUF012 - pydantic copies it
    anything: object = None


class Given(ToolResult):
    pass


@tool(category=Category.DATA, safety=SafetyLevel.SAFE, timeout_seconds=1)
async def taker(_arguments: Wanted, _call: LoopCall) -> Given:
    """Takes things."""
    return Given()


def parse(text: str, max_bytes: int = 2**20) -> Wanted:
    arguments = parse_arguments(taker, text, max_bytes)
    assert isinstance(arguments, Wanted)
    return arguments


def refused(text: str, max_bytes: int = 2**20) -> InvalidArguments:
    with pytest.raises(InvalidArguments) as caught:
        parse(text, max_bytes)
    assert caught.value.metadata == {"tool": "taker"}
    return caught.value


def test_valid_arguments_are_read() -> None:
    assert parse('{"text": "é", "number": 3, "share": 0.5, "many": [1]}') == Wanted(
        text="é", number=3, share=0.5, many=[1]
    )


def test_no_text_means_no_arguments() -> None:
    assert parse("") == Wanted()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "nonsense",
        "{} {}",
        '{"text": "a", "text": "b"}',
        '{"anything": {"a": 1, "a": 2}}',
        '{"share": NaN}',
        '{"share": Infinity}',
        '{"share": -Infinity}',
        "{'text': 'a'}",
        '{"text": "\\ud800"}',
        '{"text": "a\nb"}',
        '{"number": 01}',
        '{"text": "a",}',
        "// {}",
        '{"anything": ' + "[" * 500 + "]" * 500 + "}",
        '{"number": ' + "9" * 5000 + "}",
        "\ufeff{}",
    ],
)
def test_what_is_no_strict_json_is_refused(text: str) -> None:
    assert "not valid JSON" in refused(text).message


@pytest.mark.parametrize("text", ["[]", "null", "1", '"{}"', "true"])
def test_only_an_object_will_do(text: str) -> None:
    assert refused(text).message == "The arguments must be a JSON object."


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"number": 11}', "number"),
        ('{"number": "3"}', "number"),
        ('{"number": true}', "number"),
        ('{"share": 1e999}', "share"),
        ('{"share": "1"}', "share"),
        ('{"text": 5}', "text"),
        ('{"text": null}', "text"),
        ('{"many": [1, "2"]}', "many[1]"),
        ('{"extra": 1}', "extra"),
    ],
)
def test_a_violation_names_its_field(text: str, field: str) -> None:
    error = refused(text)
    assert [violation.field for violation in error.violations] == [field]
    assert field in error.message


def test_violations_are_bounded_in_number_and_length() -> None:
    text = json.dumps({f"{'x' * 5000}{number}": number for number in range(100)})
    error = refused(text)
    assert len(error.violations) == MAX_VIOLATIONS
    assert len(error.to_status().SerializeToString()) < 4000


def test_the_size_is_counted_in_bytes() -> None:
    text = json.dumps({"text": "é" * 50}, ensure_ascii=False)
    assert parse(text, len(text.encode())).text == "é" * 50
    assert "larger than" in refused(text, len(text.encode()) - 1).message


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**50), 10**50)
    | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_json_can_say_arrives_as_it_was_said(value: object) -> None:
    assert parse(json.dumps({"anything": value})).anything == value


@given(st.text())
def test_any_text_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        arguments = parse('{"anything": ' + text + "}")
    except InvalidArguments:
        return
    assert arguments.anything == json.loads('{"anything": ' + text + "}").get("anything")


@given(st.dictionaries(st.text(max_size=20), values, max_size=5))
def test_any_object_meets_the_schema_or_is_refused_with_fields(value: dict[str, object]) -> None:
    fields: set[str] = set()
    try:
        parse(json.dumps(value))
    except InvalidArguments as error:
        fields = {violation.field for violation in error.violations}
        error.to_status()
    assert fields or value.keys() <= Wanted.model_fields.keys()


@given(st.floats())
def test_a_number_is_finite_or_refused(number: float) -> None:
    text = json.dumps({"share": number})
    if math.isfinite(number):
        assert parse(text).share == number
    else:
        assert refused(text)
