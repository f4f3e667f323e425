"""How the contracts' messages are shown."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Json = Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")]


def fields(message: Message) -> dict[str, object]:
    """A message for scripts, with the contract's names."""
    return dict(MessageToDict(message, preserving_proto_field_name=True))


def day(message: Message, name: str, *, unset: str = "never") -> str:
    """The day of a time in a field, in UTC; `unset` where there is none."""
    return _told(message, name, "%Y-%m-%d", unset)


def minute(message: Message, name: str) -> str:
    """A time in a field to the minute, in UTC."""
    return _told(message, name, "%Y-%m-%d %H:%M", "never")


def _told(message: Message, name: str, form: str, unset: str) -> str:
    if not message.HasField(name):
        return unset
    time: Timestamp = getattr(message, name)
    return time.ToDatetime(UTC).strftime(form)


def state(message: Message) -> str:
    """Whether something that can be disabled is."""
    return "disabled" if message.HasField("disable_time") else "active"
