"""What of a message may be kept: never what is redacted, and content only as a digest.

The contract decides. A field marked `debug_redact` is a secret: it is taken out
before anything else looks. Of the rest, numbers, flags, enums, times and names
of things say what a call was about; other text is content, which nobody needs
to read to know who did what.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.rpc.message_fields import reaches, submessages

MAX_FACTS = 32
MAX_DEPTH = 4
MAX_ITEMS = 16
MAX_KEY_CHARACTERS = 128
MAX_VALUE_CHARACTERS = 256

# Text that names a thing or a person, by how its field is called.
NAMES = frozenset(
    {"model", "name", "username", "role", "roles", "scopes", "permissions", "tool", "state", "paths"}
)
NAME_SUFFIXES = ("_id", "_ids", "_name")
# Messages that are one value.
VALUES = ("google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask")
PAGING = frozenset({"page_token", "next_page_token"})


def redacted(message: Message) -> Message:
    """The message without the fields that the contract marks `debug_redact`, however deep.

    It is the message itself where its type has none, else a copy.
    """
    if not reaches(message.DESCRIPTOR, _is_secret):
        return message
    copy = type(message)()
    copy.CopyFrom(message)
    _redact(copy)
    return copy


def _is_secret(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().debug_redact)


def _redact(message: Message) -> None:
    for field, value in message.ListFields():
        if _is_secret(field):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in submessages(field, value):
                _redact(part)


def facts(message: Message, *, names: bool = True) -> dict[str, str]:
    """What a redacted message says without its content: path of the field to value.

    Args:
        message: As `redacted` gives it.
        names: Whether text that names something is kept. What strangers type may
            be anything, a password in the wrong field for one.
    """
    found: dict[str, str] = {}
    for path, value in _facts(message, "", names, MAX_DEPTH):
        if len(found) == MAX_FACTS:
            break
        found[path[:MAX_KEY_CHARACTERS]] = value[:MAX_VALUE_CHARACTERS]
    return found


def _facts(message: Message, prefix: str, names: bool, depth: int) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is None:
            if _tells(field, names):
                yield path, _plain(field, value)
        elif field.message_type.full_name in VALUES and not field.is_repeated:
            yield path, _shown(value)
        elif depth > 1 and not field.message_type.GetOptions().map_entry:
            for place, part in enumerate(submessages(field, value)):
                if place == MAX_ITEMS:
                    break
                step = f"{path}[{place}]." if field.is_repeated else f"{path}."
                yield from _facts(part, step, names, depth - 1)


def _shown(value: Any) -> str:
    """A message that is one value; where that has no form in JSON, what its fields hold.

    What is refused for that is told all the same.
    """
    try:
        return str(value.ToJsonString())
    except ValueError:
        return text_format.MessageToString(value, as_one_line=True)


def _tells(field: FieldDescriptor, names: bool) -> bool:
    """Whether a scalar field says what a call is about."""
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES or field.name in PAGING or not names:
        return False
    return field.name in NAMES or field.name.endswith(NAME_SUFFIXES)


def _plain(field: FieldDescriptor, value: Any) -> str:
    """A scalar, or a list of them, as text; enums by name."""
    if field.is_repeated:
        shown = [_plain_one(field, item) for item in value[:MAX_ITEMS]]
        return ",".join(shown) + (",…" if len(value) > MAX_ITEMS else "")
    return _plain_one(field, value)


def _plain_one(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return str(known.name) if known is not None else str(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_json(message: Message, most_bytes: int) -> str:
    """A redacted message as one line of JSON; empty where it is longer than that.

    One that holds what JSON has no form for is a string: its fields as text.
    """
    try:
        text = json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True)
    except (json_format.SerializeToJsonError, ValueError):
        text = json.dumps(text_format.MessageToString(message, as_one_line=True))
    return text if len(text.encode()) <= most_bytes else ""
