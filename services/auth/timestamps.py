"""Times and spans as the contracts carry them."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(time: datetime | None) -> Timestamp | None:
    """The time as a message; None stays unset."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def duration(span: timedelta) -> Duration:
    """The span as a message."""
    message = Duration()
    message.FromTimedelta(span)
    return message
