"""Lists that are too long are refused by their length, before the rules of what is in them are asked."""

from __future__ import annotations

import time

import pytest
from google.protobuf.message import Message

from parley.auth.v1 import audit_service_pb2
from parley.inference.v1 import chat_pb2, completion_pb2, conversation_service_pb2, message_pb2
from services.rpc.errors import InvalidRequest
from services.rpc.interceptors.oversize import MOST_PARTS, oversize
from services.rpc.interceptors.validation import Validation

A_MILLION = 1_000_000
HI = message_pb2.ContentPart(text="x")
SAID = message_pb2.Message(role=message_pb2.ROLE_USER, content=[HI])


def violation(message: Message) -> tuple[str, str]:
    found = oversize(message)
    assert found is not None
    return found.field, found.description


@pytest.mark.parametrize(
    ("message", "field", "most"),
    [
        (chat_pb2.ChatRequest(messages=[SAID] * 4097), "messages", 4096),
        (
            chat_pb2.ChatRequest(messages=[SAID, message_pb2.Message(content=[HI] * 257)]),
            "messages[1].content",
            256,
        ),
        (chat_pb2.SamplingOptions(logit_bias=dict.fromkeys(range(1025), 1.0)), "logit_bias", 1024),
        (chat_pb2.ChatRequest(sampling={"stop": ["x"] * 17}), "sampling.stop", 16),
        (
            completion_pb2.CompleteRequest(tokens={"ids": range(2**20 + 1)}),
            "tokens.ids",
            2**20,
        ),
    ],
)
def test_a_list_is_as_long_as_its_rule_allows(message: Message, field: str, most: int) -> None:
    assert violation(message) == (field, f"must contain no more than {most} item(s)")


def test_what_is_as_long_as_it_may_be_is_taken() -> None:
    longest = chat_pb2.ChatRequest(
        messages=[SAID] * 4096, sampling={"stop": ["x"] * 16, "logit_bias": dict.fromkeys(range(1024), 1.0)}
    )
    assert oversize(longest) is None


def test_all_lists_together_are_bounded_too() -> None:
    full = message_pb2.Message(role=message_pb2.ROLE_USER, content=[HI] * 256)
    fitting = MOST_PARTS // 257
    assert oversize(chat_pb2.ChatRequest(messages=[full] * fitting)) is None
    field, told = violation(chat_pb2.ChatRequest(messages=[full] * (fitting + 1)))
    assert (field, str(MOST_PARTS) in told) == (f"messages[{fitting}].content", True)


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (chat_pb2.ChatRequest, "messages"),
        (conversation_service_pb2.AppendMessagesRequest, "messages"),
        (audit_service_pb2.RecordEventsRequest, "events"),
    ],
    ids=["ChatRequest", "AppendMessagesRequest", "RecordEventsRequest"],
)
def test_a_million_tiny_messages_cost_what_one_does(kind: type[Message], field: str) -> None:
    empty = bytes([kind.DESCRIPTOR.fields_by_name[field].number << 3 | 2, 0])
    request = kind.FromString(empty * A_MILLION)
    began = time.thread_time()
    with pytest.raises(InvalidRequest) as caught:
        Validation().on_request(request)
    # The rules of what is in them would take more than 20 s.
    assert time.thread_time() - began < 2
    assert [violation.field for violation in caught.value.violations] == [field]
