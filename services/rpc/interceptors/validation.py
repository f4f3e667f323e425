"""Holds every message that comes in to the rules beside its fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import protovalidate
from google.protobuf.message import Message

from services.rpc.errors import FieldViolation, InvalidRequest
from services.rpc.interceptors.around import CallInterceptor
from services.rpc.interceptors.oversize import oversize
from services.rpc.times import unreadable_times

SHOWN_VIOLATIONS = 32
NO_TIME = "is no time or span that there is"


class Validation(CallInterceptor):
    """Refuses messages that break their contract's rules (protovalidate)."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()

    def on_request(self, message: Message) -> None:
        """Check one message.

        Raises:
            InvalidRequest: It breaks a rule; every violation is listed.
        """
        violations = list(self._violations(message))
        if violations:
            first = violations[0]
            more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
            raise InvalidRequest(
                f"{first.field}: {first.description}{more}", violations=violations[:SHOWN_VIOLATIONS]
            )

    def _violations(self, message: Message) -> Iterator[FieldViolation]:
        """What is wrong with a message.

        The rules are not asked about lists that are too long to be read, nor about
        times that they could not read.
        """
        if (too_long := oversize(message)) is not None:
            yield too_long
            return
        unreadable = list(unreadable_times(message))
        yield from (FieldViolation(path, NO_TIME) for path in unreadable)
        if not unreadable:
            for found in self._validator.collect_violations(message):
                yield FieldViolation(_path(found.proto.field), found.proto.message)


def _path(path: Any) -> str:
    """A field path as people write it: `messages[0].role`; `request` for the message itself."""
    steps = []
    for element in path.elements if path is not None else ():
        key = element.subscript.value if element.subscript is not None else None
        steps.append(element.field_name + (f"[{key}]" if key is not None else ""))
    return ".".join(steps) or "request"
