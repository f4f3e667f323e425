"""Times and spans that are none: their types can hold them, and nothing can read them.

A `google.protobuf.Timestamp` lies in the years 1 to 9999, a `Duration` within
10,000 years; both have less than a second of nanoseconds. A sender may write
any other number into them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.rpc.message_fields import reaches, submessages

TIMES = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})


def unreadable_times(message: Message, prefix: str = "") -> Iterator[str]:
    """Paths of the message's times and spans that are none, however deep."""
    if not reaches(message.DESCRIPTOR, _is_time):
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for place, part in enumerate(submessages(field, value)):
            path = f"{prefix}{field.name}" + (f"[{place}]" if field.is_repeated else "")
            if not _is_time(field):
                yield from unreadable_times(part, f"{path}.")
            elif not _readable(part):
                yield path


def _is_time(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name in TIMES


def _readable(time: Any) -> bool:
    try:
        time.ToJsonString()
    except ValueError:
        return False
    return True
