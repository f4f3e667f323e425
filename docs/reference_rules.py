"""What protovalidate's rules say, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import duration_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

_WORDS = {
    "gte": "at least {}",
    "gt": "above {}",
    "lte": "at most {}",
    "lt": "below {}",
    "const": "always {}",
    "in": "one of {}",
    "not_in": "not {}",
    "min_len": "at least {} {unit}",
    "max_len": "at most {} {unit}",
    "max_bytes": "at most {} bytes",
    "pattern": "matches {}",
    "contains": "contains {}",
    "not_contains": "does not contain {}",
    "prefix": "begins with {}",
    "min_items": "at least {} items",
    "max_items": "at most {} items",
    "min_pairs": "at least {} entries",
    "max_pairs": "at most {} entries",
}
_FLAGS = {
    "required": "required",
    "defined_only": "a value that is defined",
    "unique": "no two alike",
    "uuid": "a UUID",
    "finite": "finite",
    "gt_now": "in the future",
}
_NESTED = {"items": "each", "keys": "each key", "values": "each value"}


def field_rules(field: FieldDescriptor) -> str:
    """The rules of a field; empty where it has none."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return "; ".join(_phrases(rules, field.enum_type, "characters"))


def message_rules(message: Descriptor) -> list[str]:
    """The rules of a message that take more than one field."""
    return [rule.message for rule in message.GetOptions().Extensions[validate_pb2.message].cel]


def is_required(oneof: OneofDescriptor) -> bool:
    """Whether one of its fields must be set."""
    return bool(oneof.GetOptions().Extensions[validate_pb2.oneof].required)


def _phrases(rules: Any, enum: EnumDescriptor | None, unit: str) -> Iterator[str]:
    """A phrase for each rule.

    Raises:
        KeyError: There are no words for a rule yet.
    """
    for rule, value in rules.ListFields():
        if rule.name == "cel":
            yield from (each.message for each in value)
        elif rule.name == "ignore":
            yield "or not set"
        elif rule.name in _NESTED:
            yield f"{_NESTED[rule.name]}: {', '.join(_phrases(value, enum, unit))}"
        elif rule.name in _FLAGS:
            yield _FLAGS[rule.name]
        elif rule.name in _WORDS:
            words = _WORDS[rule.name].format(_shown(value, rule.name, enum), unit=unit)
            yield words[:-1] if value == 1 and words.endswith("s") else words
        elif rule.message_type is not None:
            yield from _phrases(value, enum, "bytes" if rule.name == "bytes" else "characters")
        else:
            raise KeyError(rule.full_name)


def _shown(value: Any, rule: str, enum: EnumDescriptor | None) -> str:
    if rule in ("in", "not_in"):
        return ", ".join(_shown(each, "", enum) for each in value)
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, duration_pb2.Duration):
        return f"{value.ToTimedelta().total_seconds():g} s"
    if isinstance(value, Message):
        raise KeyError(value.DESCRIPTOR.full_name)
    if isinstance(value, str):
        return f"`{''.join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in value)}`"
    return f"`{enum.values_by_number[value].name}`" if enum else f"{float(f'{value:.7g}'):,.10g}"
