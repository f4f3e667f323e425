"""What of a message may be kept: never a secret, and content only as a digest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from deploy.envoy.contract import DESCRIPTORS
from parley.auth.v1 import key_service_pb2, session_service_pb2, user_service_pb2
from parley.edge import external_auth_pb2
from parley.inference.v1 import chat_pb2
from parley.tools.v1 import tool_service_pb2
from services.rpc.redaction import MAX_FACTS, as_json, facts, redacted

SECRETS: list[tuple[type[Message], dict[str, Any]]] = [
    (session_service_pb2.LoginRequest, {"username": "ada", "password": "sesame"}),
    (session_service_pb2.RefreshRequest, {"refresh_token": "sesame"}),
    (session_service_pb2.LoginResponse, {"tokens": {"access_token": "sesame", "refresh_token": "sesame"}}),
    (key_service_pb2.CreateKeyResponse, {"key": {"key_id": "k"}, "secret": "sesame"}),
    (
        external_auth_pb2.CheckRequest,
        {"attributes": {"request": {"http": {"headers": {"x-parley-key": "sesame"}, "path": "/?k=sesame"}}}},
    ),
]


@pytest.mark.parametrize(("message", "fields"), SECRETS)
def test_a_secret_is_in_nothing_that_is_kept(message: type[Message], fields: dict[str, Any]) -> None:
    given = message(**fields)
    kept = redacted(given)
    assert "sesame" in str(given)
    for text in (str(kept), kept.SerializeToString(), str(facts(kept)), as_json(kept, 10_000)):
        assert "sesame" not in str(text)


def test_what_holds_no_secret_is_not_copied() -> None:
    request = tool_service_pb2.ListToolsRequest(page_size=3)
    assert redacted(request) is request


def test_names_and_numbers_are_kept_and_content_is_not() -> None:
    request = chat_pb2.ChatRequest(
        model="demo",
        messages=[{"role": "ROLE_USER", "content": [{"text": "my diagnosis"}]}],
        server_tools={"all": True},
    )
    found = facts(redacted(request))
    assert found["model"] == "demo"
    assert found["server_tools.all"] == "true"
    assert found["messages[0].role"] == "ROLE_USER"
    assert "diagnosis" not in str(found)


def test_what_a_stranger_types_is_kept_in_no_case() -> None:
    login = session_service_pb2.LoginRequest(username="my password in the wrong field")
    assert facts(redacted(login)) == {"username": "my password in the wrong field"}
    assert facts(redacted(login), names=False) == {}


def test_lists_and_times_are_told_in_short() -> None:
    request = key_service_pb2.CreateKeyRequest(name="laptop", scopes=[f"tools.s{n}" for n in range(20)])
    request.expire_time.FromJsonString("2026-12-24T00:00:00Z")
    found = facts(redacted(request))
    assert found["expire_time"] == "2026-12-24T00:00:00Z"
    assert found["scopes"].startswith("tools.s0,tools.s1,")
    assert found["scopes"].endswith(",…")


def test_a_mask_that_names_no_field_is_told_as_it_is() -> None:
    request = user_service_pb2.UpdateUserRequest(update_mask={"paths": ["passwordHash", "No__Such"]})
    assert facts(redacted(request)) == {"update_mask": 'paths: "passwordHash" paths: "No__Such"'}


def test_what_is_kept_is_bounded() -> None:
    messages = [{"role": "ROLE_TOOL", "tool_call_id": "x" * 1000} for _ in range(100)]
    found = facts(chat_pb2.ChatRequest(messages=messages))
    assert len(found) <= MAX_FACTS
    assert max(map(len, found.values())) <= 256


def test_too_long_a_request_is_not_kept_in_full() -> None:
    login = session_service_pb2.LoginRequest(username="ada")
    assert as_json(login, 100) == '{"username": "ada"}'
    assert as_json(login, 10) == ""


def fields() -> Iterator[FieldDescriptor]:
    """Every field of our contracts."""
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    for file in files.file:
        if file.package.startswith("parley."):
            for message in pool.FindFileByName(file.name).message_types_by_name.values():
                yield from message.fields


def test_whatever_is_called_a_secret_is_marked_as_one() -> None:
    named = re.compile(r"(^|_)(secret|password|token)$")
    # A page's place; a model's token.
    harmless = re.compile(r"[._]page_token$|Logprob\.token$")
    open_ones = [
        field.full_name
        for field in fields()
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING
        and named.search(field.name)
        and not harmless.search(field.full_name)
        and not field.GetOptions().debug_redact
    ]
    assert open_ones == []
