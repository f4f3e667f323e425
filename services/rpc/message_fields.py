"""Walks messages by what their descriptors say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message


@cache
def reaches(descriptor: Descriptor, wanted: Callable[[FieldDescriptor], bool]) -> bool:
    """Whether such a field can be anywhere in messages of this type."""
    waiting, known = [descriptor], {descriptor}
    while waiting:
        for field in waiting.pop().fields:
            if wanted(field):
                return True
            if field.message_type is not None and field.message_type not in known:
                known.add(field.message_type)
                waiting.append(field.message_type)
    return False


def submessages(field: FieldDescriptor, value: Any) -> Iterator[Message]:
    """The messages that a field holds."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if field.message_type.fields_by_name["value"].message_type is not None:
            yield from value.values()
    elif field.is_repeated:
        yield from value
    else:
        yield value
