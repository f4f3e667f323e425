"""`parley conversations`: what it asks for, and what it shows."""

from __future__ import annotations

import json

import pytest

from parley.inference.v1 import conversation_pb2, message_pb2
from parley.inference.v1 import conversation_service_pb2 as pb2
from tests.cli.conftest import Run
from tests.client.toy_platform import KEY_ID, RUN_ID, ToyPlatform

ROME = conversation_pb2.Conversation(conversation_id=RUN_ID, title="Rome", message_count=2, model="first")


@pytest.fixture(autouse=True)
def told(toy: ToyPlatform) -> ToyPlatform:
    """The toy, which keeps one conversation."""
    call = message_pb2.ToolCall(id="c", name="look", arguments='{"at":"map"}')
    said = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, tool_calls=[call])
    asked = message_pb2.Message(role=message_pb2.ROLE_USER, content=[{"text": "Where [is] it?"}])
    messages = [conversation_pb2.StoredMessage(message_id=KEY_ID, message=each) for each in (asked, said)]
    found = pb2.MessageFound(conversation_id=RUN_ID, title="Rome", snippet="Where\nis it?")
    toy.answers = {
        "ListConversations": pb2.ListConversationsResponse(conversations=[ROME]),
        "ListMessages": pb2.ListMessagesResponse(messages=messages),
        "SearchMessages": pb2.SearchMessagesResponse(found=[found]),
        "RenameConversation": pb2.RenameConversationResponse(conversation=ROME),
        "BranchConversation": pb2.BranchConversationResponse(conversation=ROME),
        "DeleteConversation": pb2.DeleteConversationResponse(),
    }
    return toy


def test_they_are_a_table_or_json(parley: Run, toy: ToyPlatform) -> None:
    lines = parley("conversations", "list", "--title", "rom").stdout.splitlines()
    assert lines[1].split()[:4] == [RUN_ID, "Rome", "2", "first"]
    assert toy.requests[0].title_contains == "rom"
    assert json.loads(parley("conversations", "list", "--json").stdout)[0]["title"] == "Rome"


def test_what_was_said_is_shown_with_its_ids(parley: Run) -> None:
    shown = parley("conversations", "show", RUN_ID).stdout
    assert shown.splitlines() == [
        f"user [{KEY_ID}]",
        "Where [is] it?",
        f"assistant [{KEY_ID}]",
        '→ look {"at":"map"}',
    ]


def test_what_was_found_is_on_one_line(parley: Run, toy: ToyPlatform) -> None:
    lines = parley("conversations", "search", "where").stdout.splitlines()
    assert lines[1].split() == [RUN_ID, "Rome", "Where", "is", "it?"]
    assert toy.requests[0].query == "where"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rename", RUN_ID, "Rome"), "is called 'Rome'"),
        (("branch", RUN_ID, KEY_ID), RUN_ID),
        (("delete", RUN_ID), "is deleted"),
    ],
)
def test_they_are_changed(parley: Run, toy: ToyPlatform, arguments: tuple[str, ...], said: str) -> None:
    assert said in parley("conversations", *arguments).stdout
    assert toy.requests[0].conversation_id == RUN_ID
