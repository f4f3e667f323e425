"""Finds lists that are too long before anything reads what is in them.

A list is cheap to send and dear to check: 16 MiB hold eight million empty
messages, and the rules of each take their time, in which nothing else is served.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.rpc.errors import FieldViolation
from services.rpc.message_fields import reaches, submessages

MOST_PARTS = 32_768
"""Messages that one message may hold, however deep: to check as many takes half a second."""


def oversize(message: Message, most_parts: int = MOST_PARTS) -> FieldViolation | None:
    """The first list that is longer than its rule allows, or with which there are too many messages.

    Lists come before what is in them, so that this takes no longer than what it allows.
    """
    waiting, parts = deque([(message, "")]), 0
    while waiting:
        within, prefix = waiting.popleft()
        for field, value in within.ListFields():
            path = f"{prefix}{field.name}"
            count = len(value) if field.is_repeated else 1
            if count > (most := most_items(field)):
                return FieldViolation(path, f"must contain no more than {most} item(s)")
            if field.message_type is None:
                continue
            parts += count
            if parts > most_parts:
                return FieldViolation(
                    path, f"brings the messages within the request to more than {most_parts}"
                )
            if reaches(field.message_type, _holds_more):
                waiting.extend(_placed(field, value, path))
    return None


def _placed(field: FieldDescriptor, value: Any, path: str) -> list[tuple[Message, str]]:
    """What a field holds, each with the beginning of the paths within it."""
    parts = enumerate(submessages(field, value))
    return [(part, f"{path}[{place}]." if field.is_repeated else f"{path}.") for place, part in parts]


def _holds_more(field: FieldDescriptor) -> bool:
    return field.is_repeated or field.message_type is not None


@cache
def most_items(field: FieldDescriptor) -> float:
    """How long a list may be; what sets no bound has none."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if rules.repeated.HasField("max_items"):
        return int(rules.repeated.max_items)
    return int(rules.map.max_pairs) if rules.map.HasField("max_pairs") else float("inf")
