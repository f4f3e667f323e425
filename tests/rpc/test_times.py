"""Times and spans that are none are found wherever a message holds them, and refused by their place."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from parley.auth.v1 import audit_pb2, audit_service_pb2, key_service_pb2
from services.rpc.errors import InvalidRequest
from services.rpc.interceptors.validation import Validation
from services.rpc.redaction import as_json, facts
from services.rpc.times import unreadable_times

FIRST, LAST = -62_135_596_800, 253_402_300_799


@pytest.mark.parametrize(
    ("time", "there_is"),
    [
        (Timestamp(seconds=FIRST), True),
        (Timestamp(seconds=LAST, nanos=999_999_999), True),
        (Timestamp(seconds=FIRST - 1), False),
        (Timestamp(seconds=LAST + 1), False),
        (Timestamp(seconds=2**63 - 1), False),
        (Timestamp(nanos=-1), False),
        (Timestamp(nanos=1_000_000_000), False),
    ],
)
def test_times_lie_in_the_years_that_have_four_digits(time: Timestamp, there_is: bool) -> None:
    request = key_service_pb2.CreateKeyRequest(expire_time=time)
    assert list(unreadable_times(request)) == ([] if there_is else ["expire_time"])


@pytest.mark.parametrize(
    ("span", "there_is"),
    [
        (Duration(seconds=315_576_000_000), True),
        (Duration(seconds=-9, nanos=-1), True),
        (Duration(seconds=315_576_000_001), False),
        (Duration(seconds=9, nanos=-1), False),
        (Duration(nanos=1_000_000_000), False),
    ],
)
def test_spans_are_of_one_sign_and_bounded(span: Duration, there_is: bool) -> None:
    request = key_service_pb2.RotateKeyRequest(overlap=span)
    assert list(unreadable_times(request)) == ([] if there_is else ["overlap"])


def test_they_are_found_in_lists_and_depths() -> None:
    torn = Timestamp(nanos=-1)
    batch = audit_service_pb2.RecordEventsRequest(
        events=[audit_pb2.AuditEvent(time=Timestamp()), audit_pb2.AuditEvent(time=torn)]
    )
    listing = audit_service_pb2.ListAuditRecordsRequest(filter={"start_time": torn, "end_time": Timestamp()})
    assert list(unreadable_times(batch)) == ["events[1].time"]
    assert list(unreadable_times(listing)) == ["filter.start_time"]


def test_a_refusal_names_the_place() -> None:
    request = audit_service_pb2.ListAuditRecordsRequest(filter={"end_time": Timestamp(seconds=LAST + 1)})
    with pytest.raises(InvalidRequest) as caught:
        Validation().on_request(request)
    assert [violation.field for violation in caught.value.violations] == ["filter.end_time"]


@pytest.mark.parametrize(
    "message",
    [
        key_service_pb2.CreateKeyRequest(name="k", expire_time=Timestamp(seconds=2**62)),
        key_service_pb2.RotateKeyRequest(overlap=Duration(seconds=9, nanos=-1)),
    ],
)
def test_what_the_audit_keeps_of_them_is_what_they_hold(message: Message) -> None:
    """A call that is refused for them, or was let in for want of a check, is told of all the same."""
    ((path, told),) = [(path, told) for path, told in facts(message).items() if path != "name"]
    assert path in {"expire_time", "overlap"}
    assert told.startswith("seconds: ")
    assert as_json(message, 10_000).startswith('"')
