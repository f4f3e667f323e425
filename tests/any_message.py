"""Requests made from descriptors: ones that are right, changed at random places."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

WORDS = (
    *("", "a", "scripted", "another", "user", "calculator", "broken", "auto", "none"),
    *(
        "x" * 65,
        "x" * 5000,
        "é\u0301",
        "\u202e",
        "a\x00b",
        "a\nb",
        "../..",
        "%s",
        "' OR 1=1 --",
        "*",
        "models.*",
    ),
    *('{"type":"object"}', '{"type":', "[" * 70, "(a+)+$", "root ::= root", "NaN", "1e999", "01J" + "Z" * 23),
)
WHOLE = (0, 1, 2, -1, 7, 64, 1000, 4096, 100_000, 2**31 - 1, -(2**31), 2**32 - 1, 2**53 + 1, 2**63 - 1)
REAL = (0.0, 0.5, 1.0, 2.0, -1.0, 1e-9, 1e38, float("inf"), float("-inf"), float("nan"))
BYTES = (b"", b"a", b"\xff\xfe", b"x" * 5000)
RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64),
}
MOST_CHANGES = 3
DEEPEST = 6


@st.composite
def changed(draw: Draw, rights: Sequence[Message]) -> Message:
    """One of these messages, changed at up to `MOST_CHANGES` places; sometimes at none."""
    made = draw(st.sampled_from(rights))
    message = type(made)()
    message.CopyFrom(made)
    for _ in range(draw(st.integers(0, MOST_CHANGES))):
        _change(draw, message, DEEPEST)
    return message


def _change(draw: Draw, message: Message, depth: int) -> None:
    """Change one field of a message, or of one within it."""
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = draw(st.sampled_from(fields))
    if draw(st.integers(0, 9)) == 0:
        message.ClearField(field.name)
    elif _is_map(field):
        _change_map(draw, getattr(message, field.name), field, depth)
    elif field.is_repeated:
        _change_list(draw, getattr(message, field.name), field, depth)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        if depth:
            _change(draw, inner, depth - 1)
    else:
        setattr(message, field.name, draw(_value(field)))


def _change_list(draw: Draw, items: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is None:
        items.extend(draw(st.lists(_value(field), min_size=1, max_size=3)))
        return
    if not items or draw(st.booleans()):
        items.add()
    if depth:
        _change(draw, items[draw(st.integers(0, len(items) - 1))], depth - 1)


def _change_map(draw: Draw, entries: Any, field: FieldDescriptor, depth: int) -> None:
    kinds: Mapping[str, FieldDescriptor] = field.message_type.fields_by_name
    key = draw(_value(kinds["key"]))
    if kinds["value"].message_type is None:
        entries[key] = draw(_value(kinds["value"]))
    elif depth:
        _change(draw, entries[key], depth - 1)


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return st.sampled_from(BYTES)
        case FieldDescriptor.CPPTYPE_STRING:
            return st.sampled_from(WORDS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([*(value.number for value in field.enum_type.values), 99])
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return st.sampled_from(REAL)
        case kind:
            low, high = RANGES[kind]
            return st.sampled_from([number for number in WHOLE if low <= number < high])


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
