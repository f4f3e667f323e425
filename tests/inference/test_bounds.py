"""Every bound of the fields that say how to generate, read from the contract: taken at it, refused beyond."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import protovalidate
import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from parley.inference.v1 import chat_pb2, completion_pb2, structured_output_pb2, tokens_pb2, tool_choice_pb2

MESSAGES = (
    chat_pb2.SamplingOptions,
    chat_pb2.ReasoningOptions,
    chat_pb2.RunLimits,
    tool_choice_pb2.ToolChoice,
    structured_output_pb2.StructuredOutput,
    structured_output_pb2.Choices,
    completion_pb2.CompleteRequest,
    completion_pb2.TokenIds,
    tokens_pb2.TokenizeRequest,
    tokens_pb2.DetokenizeRequest,
    tokens_pb2.CountTokensRequest,
)
# Rules between fields, which a value at its bound meets only with another beside it.
BESIDE = {"min_output_tokens": {"max_output_tokens": 1_048_576}}


def after(value: float, toward: float) -> float:
    """The next number of 32 bits, which is all that a float field can hold."""
    if value == 0:
        return math.copysign(2.0**-149, toward)
    (bits,) = struct.unpack("<i", struct.pack("<f", value))
    step = 1 if (toward > value) == (value > 0) else -1
    return float(struct.unpack("<f", struct.pack("<i", bits + step))[0])


def beyond(field: FieldDescriptor, bound: Any, toward: float) -> Any:
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return after(bound, toward)
    return bound + (1 if toward > 0 else -1)


def numbers(field: FieldDescriptor, rules: Any) -> Iterator[tuple[Any, bool]]:
    """Values of a number's field, and whether they are taken."""
    for name in ("gte", "lte", "gt"):
        if not rules.HasField(name):
            continue
        bound = getattr(rules, name)
        outward = 1.0 if name == "lte" else -1.0
        if name == "gt":
            yield bound, False
            yield beyond(field, bound, 1.0), True
            continue
        yield bound, True
        if field.type != FieldDescriptor.TYPE_UINT32 or bound > 0 or outward > 0:
            yield beyond(field, bound, outward * math.inf), False
    if field.type == FieldDescriptor.TYPE_FLOAT:
        yield from ((value, False) for value in (math.nan, math.inf, -math.inf))


def texts(rules: Any) -> Iterator[tuple[Any, bool]]:
    for most in (rules.max_len, rules.max_bytes):
        if most:
            yield "x" * most, True
            yield "x" * (most + 1), False
    if rules.min_len:
        yield "", False


def lists(field: FieldDescriptor, rules: Any) -> Iterator[tuple[Any, bool]]:
    texts_too = field.type == FieldDescriptor.TYPE_STRING
    for count, taken in ((rules.max_items, True), (rules.max_items + 1, False)):
        yield [str(number) if texts_too else number for number in range(count)], taken
    if rules.min_items:
        yield [], False
    if rules.unique:
        yield (["x", "x"] if texts_too else [1, 1]), False


def maps(rules: Any) -> Iterator[tuple[Any, bool]]:
    inner = rules.values.float
    yield dict.fromkeys(range(rules.max_pairs), 1.0), True
    yield dict.fromkeys(range(rules.max_pairs + 1), 1.0), False
    for bound in (inner.gte, inner.lte):
        yield {1: bound}, True
        yield {1: after(bound, bound * 2)}, False
    yield {1: math.nan}, False


def values(field: FieldDescriptor) -> Iterator[tuple[Any, bool]]:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    match rules.WhichOneof("type"):
        case "map":
            yield from maps(rules.map)
        case "repeated":
            yield from lists(field, rules.repeated)
        case "string" if not rules.string.pattern:
            yield from texts(rules.string)
        case "enum":
            numbers_of = [value.number for value in field.enum_type.values]
            yield max(numbers_of), True
            yield max(numbers_of) + 1, False
        case "float" | "uint32" | "int64" as kind:
            yield from numbers(field, getattr(rules, kind))


CASES = [
    pytest.param(kind.DESCRIPTOR, field, value, taken, id=f"{kind.DESCRIPTOR.name}.{field.name}-{at}")
    for kind in MESSAGES
    for field in kind.DESCRIPTOR.fields
    for at, (value, taken) in enumerate(values(field))
]


@pytest.mark.parametrize(("kind", "field", "value", "taken"), CASES)
def test_a_value_is_taken_up_to_its_bound(
    kind: Descriptor, field: FieldDescriptor, value: Any, taken: bool
) -> None:
    message = GetMessageClass(kind)(**{**BESIDE.get(field.name, {}), field.name: value})
    paths = [violation.proto.field for violation in protovalidate.collect_violations(message)]
    blamed = {path.elements[0].field_name for path in paths if path is not None and len(path.elements)}
    assert (field.name not in blamed) == taken


def test_there_are_bounds_to_try() -> None:
    assert len(CASES) > 80


@pytest.mark.parametrize(
    "fields",
    [
        {"min_output_tokens": 6, "max_output_tokens": 5},
        {"choice_count": 2, "temperature": 0},
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any]) -> None:
    assert protovalidate.collect_violations(chat_pb2.SamplingOptions(**fields))


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("effort", chat_pb2.ReasoningEffort.values())
def test_effort_and_reasoning_agree(enabled: bool, effort: Any) -> None:
    given = chat_pb2.ReasoningOptions(enabled=enabled, effort=effort)
    agree = effort == 0 or enabled == (effort != chat_pb2.REASONING_EFFORT_NONE)
    assert bool(protovalidate.collect_violations(given)) != agree


def test_a_form_is_one_form() -> None:
    assert protovalidate.collect_violations(structured_output_pb2.StructuredOutput())
    assert protovalidate.collect_violations(structured_output_pb2.StructuredOutput(regex="a\x00b"))
