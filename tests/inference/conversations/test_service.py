"""`ConversationService` over real gRPC and both databases."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from ulid import ULID

from parley.inference.v1 import conversation_service_pb2 as pb2
from parley.inference.v1 import message_pb2
from services.inference.conversations.library import ConversationLibrary
from services.inference.history import MAX_BYTES
from services.sql.database import Database
from tests.inference.conversations.conftest import assistant, export, gather, make, texts, user
from tests.inference.replicas import Replica
from tests.inference.test_servicer import refusal

NOBODYS = str(ULID())


@pytest.fixture
async def stub(replica: Replica, library: ConversationLibrary) -> Any:
    async with replica(None, library=library) as process:
        yield process.conversations


async def refused(call: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def listed(stub: Any, metadata: Any, **fields: Any) -> list[str]:
    """All titles, a page after the other."""
    titles, token = [], ""
    while True:
        request = pb2.ListConversationsRequest(page_token=token, **fields)
        answer = await stub.ListConversations(request, metadata=metadata)
        titles.extend(each.title for each in answer.conversations)
        token = answer.next_page_token
        if not token:
            return titles


async def test_a_conversation_is_made_and_read_again(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("What is a ledger?\nBriefly."), assistant("A book of accounts."))
    got = await stub.GetConversation(
        pb2.GetConversationRequest(conversation_id=made.conversation_id), metadata=ada
    )
    assert got.conversation == made
    assert (made.title, made.message_count, made.busy) == ("What is a ledger? Briefly.", 2, False)
    assert made.update_time.ToMicroseconds() >= made.create_time.ToMicroseconds() - 1000
    assert await texts(stub, ada, made.conversation_id) == [
        "What is a ledger?\nBriefly.",
        "A book of accounts.",
    ]


async def test_a_long_question_makes_a_short_title(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("why " * 100), assistant("So."))
    assert len(made.title) <= 60
    assert made.title.endswith("why…")


async def test_creating_again_with_ones_own_id_changes_nothing(stub: Any, ada: Any) -> None:
    request = pb2.CreateConversationRequest(conversation_id=str(ULID()), title="Once", messages=[user("Hi")])
    answers = [
        each.conversation
        for each in await gather(*(stub.CreateConversation(request, metadata=ada) for _ in range(4)))
    ]
    assert all(each == answers[0] for each in answers)
    assert await listed(stub, ada) == ["Once"]


async def test_pages_follow_the_last_change(stub: Any, ada: Any) -> None:
    made = [await make(stub, ada, title=f"Talk {number}") for number in range(5)]
    await stub.RenameConversation(
        pb2.RenameConversationRequest(conversation_id=made[1].conversation_id, title="TALK one"), metadata=ada
    )
    assert await listed(stub, ada, page_size=2) == ["TALK one", "Talk 4", "Talk 3", "Talk 2", "Talk 0"]
    assert await listed(stub, ada, title_contains="talk O") == ["TALK one"]
    assert await listed(stub, ada, title_contains="%") == []


async def test_messages_come_in_pages(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, *(user(str(number)) for number in range(5)))
    request = pb2.ListMessagesRequest(conversation_id=made.conversation_id, page_size=3)
    first = await stub.ListMessages(request, metadata=ada)
    request.page_token = first.next_page_token
    second = await stub.ListMessages(request, metadata=ada)
    said = [each.message.content[0].text for each in (*first.messages, *second.messages)]
    assert (said, second.next_page_token) == (["0", "1", "2", "3", "4"], "")


async def test_a_page_of_long_messages_holds_fewer(stub: Any, ada: Any) -> None:
    long = "x" * 1_500_000
    made = await make(stub, ada, user(long), assistant(long))
    request = pb2.ListMessagesRequest(conversation_id=made.conversation_id)
    first = await stub.ListMessages(request, metadata=ada)
    assert (len(first.messages), bool(first.next_page_token)) == (1, True)


async def test_appending_is_all_or_nothing_and_in_order(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("One"))
    request = pb2.AppendMessagesRequest(
        conversation_id=made.conversation_id, messages=[assistant("Two"), user("Three")]
    )
    answer = await stub.AppendMessages(request, metadata=ada)
    assert (answer.conversation.message_count, len(answer.message_ids)) == (3, 2)
    call = message_pb2.ToolCall(id="c", name="calculator", arguments="{}")
    unanswered = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, tool_calls=[call])
    request = pb2.AppendMessagesRequest(
        conversation_id=made.conversation_id, messages=[user("Four"), unanswered]
    )
    assert (await refused(stub.AppendMessages(request, metadata=ada)))[0] == "MESSAGES_INVALID"
    assert await texts(stub, ada, made.conversation_id) == ["One", "Two", "Three"]


async def test_appending_after_what_is_not_the_last_is_refused(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("One"))
    request = pb2.AppendMessagesRequest(conversation_id=made.conversation_id, messages=[assistant("Two")])
    last = (await stub.AppendMessages(request, metadata=ada)).message_ids[0]
    request.after_message_id = last
    answers = await gather(*(stub.AppendMessages(request, metadata=ada) for _ in range(3)))
    added = [each for each in answers if isinstance(each, pb2.AppendMessagesResponse)]
    lost = [refusal(each)[0] for each in answers if isinstance(each, grpc.aio.AioRpcError)]
    assert (len(added), lost) == (1, ["CONVERSATION_CHANGED"] * 2)


async def test_a_conversation_can_be_full(stub: Any, ada: Any) -> None:
    made = await make(stub, ada)
    half = user("x" * (MAX_BYTES // 3 + 1))
    request = pb2.AppendMessagesRequest(conversation_id=made.conversation_id, messages=[half])
    for _ in range(2):
        await stub.AppendMessages(request, metadata=ada)
    reason, metadata = await refused(stub.AppendMessages(request, metadata=ada))
    assert (reason, metadata["limit_bytes"]) == ("CONVERSATION_FULL", str(MAX_BYTES))
    assert len(await texts(stub, ada, made.conversation_id)) <= 2


async def test_a_branch_has_what_was_said_up_to_its_message(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("One"), assistant("Two"), user("Three"), title="Trunk")
    listing = pb2.ListMessagesRequest(conversation_id=made.conversation_id)
    at = (await stub.ListMessages(listing, metadata=ada)).messages[1].message_id
    request = pb2.BranchConversationRequest(conversation_id=made.conversation_id, message_id=at)
    branch = (await stub.BranchConversation(request, metadata=ada)).conversation
    assert (branch.title, branch.origin.conversation_id, branch.origin.message_id) == (
        "Trunk",
        made.conversation_id,
        at,
    )
    await stub.DeleteConversation(
        pb2.DeleteConversationRequest(conversation_id=made.conversation_id), metadata=ada
    )
    assert await texts(stub, ada, branch.conversation_id) == ["One", "Two"]


async def test_branching_at_what_is_not_there_is_refused(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("One"))
    request = pb2.BranchConversationRequest(conversation_id=made.conversation_id, message_id=NOBODYS)
    reason, metadata = await refused(stub.BranchConversation(request, metadata=ada))
    assert (reason, metadata["message_id"]) == ("MESSAGE_NOT_FOUND", NOBODYS)


async def test_what_was_said_is_found_whatever_its_case(stub: Any, ada: Any) -> None:
    made = await make(
        stub, ada, user("Where is the STRASSE?"), assistant("100% there: die Straße."), title="Ways"
    )
    await make(stub, ada, user("Something else"))
    answer = await stub.SearchMessages(pb2.SearchMessagesRequest(query="straße"), metadata=ada)
    assert {each.snippet for each in answer.found} == {"Where is the STRASSE?", "100% there: die Straße."}
    assert {each.title for each in answer.found} == {"Ways"}
    one = await stub.SearchMessages(
        pb2.SearchMessagesRequest(query="0% t", conversation_id=made.conversation_id), metadata=ada
    )
    assert [each.role for each in one.found] == [message_pb2.ROLE_ASSISTANT]


async def test_finds_come_in_pages(stub: Any, ada: Any) -> None:
    for number in range(3):
        await make(stub, ada, user(f"needle {number}"))
    request, found = pb2.SearchMessagesRequest(query="needle", page_size=2), []
    while True:
        answer = await stub.SearchMessages(request, metadata=ada)
        found.extend(each.snippet for each in answer.found)
        request.page_token = answer.next_page_token
        if not request.page_token:
            break
    assert sorted(found) == ["needle 0", "needle 1", "needle 2"]


async def test_an_export_has_everything_in_lines_of_json(stub: Any, ada: Any) -> None:
    await make(stub, ada, user("One\u0000"), assistant("Zwei ü"), title="First")
    await make(stub, ada, title="Second")
    content_type, written = await export(stub, ada)
    lines = [json.loads(line) for line in written.splitlines()]
    assert content_type.startswith("application/jsonl")
    assert [line["conversation"]["title"] for line in lines] == ["Second", "First"]
    said = [each["message"]["content"][0]["text"] for each in lines[1]["messages"]]
    assert said == ["One\u0000", "Zwei ü"]


async def test_an_export_for_people_is_markdown(stub: Any, ada: Any) -> None:
    call = message_pb2.ToolCall(id="c", name="calculator", arguments='{"expression":"1"}')
    asked = message_pb2.Message(role=message_pb2.ROLE_ASSISTANT, tool_calls=[call])
    answered = message_pb2.Message(
        role=message_pb2.ROLE_TOOL, tool_call_id="c", content=[message_pb2.ContentPart(text="```1```")]
    )
    made = await make(stub, ada, user("Sum?"), asked, answered, title="Sums")
    _, written = await export(stub, ada, conversation_ids=[made.conversation_id], format=2)
    assert written.startswith("# Sums\n\n**User**\n\nSum?\n\n**Assistant**\n\nCalled `calculator` with")
    assert "````\n```1```\n````" in written


async def test_an_empty_export_is_an_empty_file(stub: Any, ada: Any) -> None:
    content_type, written = await export(stub, ada, format=2)
    assert (content_type, written) == ("text/markdown; charset=utf-8", "")


async def test_a_deleted_conversation_is_gone_and_may_be_deleted_again(stub: Any, ada: Any) -> None:
    made = await make(stub, ada, user("secret"))
    request = pb2.DeleteConversationRequest(conversation_id=made.conversation_id)
    for _ in range(2):
        await stub.DeleteConversation(request, metadata=ada)
    assert await listed(stub, ada) == []
    assert not (await stub.SearchMessages(pb2.SearchMessagesRequest(query="secret"), metadata=ada)).found


async def test_nobody_else_sees_or_changes_it(stub: Any, ada: Any, stranger: Any) -> None:
    made = await make(stub, ada, user("secret"), title="Mine")
    which = {"conversation_id": made.conversation_id}
    message_id = (
        (await stub.ListMessages(pb2.ListMessagesRequest(**which), metadata=ada)).messages[0].message_id
    )
    for method, request in (
        ("GetConversation", pb2.GetConversationRequest(**which)),
        ("RenameConversation", pb2.RenameConversationRequest(**which, title="Theirs")),
        ("ListMessages", pb2.ListMessagesRequest(**which)),
        ("AppendMessages", pb2.AppendMessagesRequest(**which, messages=[user("Hi")])),
        ("BranchConversation", pb2.BranchConversationRequest(**which, message_id=message_id)),
        ("SearchMessages", pb2.SearchMessagesRequest(**which, query="secret")),
        ("CreateConversation", pb2.CreateConversationRequest(**which, title="Theirs")),
    ):
        reason, metadata = await refused(getattr(stub, method)(request, metadata=stranger))
        assert (reason, metadata) == ("CONVERSATION_NOT_FOUND", which), method
    await stub.DeleteConversation(pb2.DeleteConversationRequest(**which), metadata=stranger)
    assert await listed(stub, stranger) == []
    assert not (await stub.SearchMessages(pb2.SearchMessagesRequest(query="secret"), metadata=stranger)).found
    assert (await export(stub, stranger))[1] == ""
    assert await listed(stub, ada) == ["Mine"]
    assert await texts(stub, ada, made.conversation_id) == ["secret"]


async def test_a_named_export_of_somebody_elses_is_refused(stub: Any, ada: Any, stranger: Any) -> None:
    made = await make(stub, ada, user("secret"))
    call = export(stub, stranger, conversation_ids=[made.conversation_id])
    assert (await refused(call))[0] == "CONVERSATION_NOT_FOUND"


async def test_a_user_can_have_only_so_many(replica: Replica, database: Database, ada: Any) -> None:
    async with replica(None, library=ConversationLibrary(database, max_conversations=1)) as process:
        await make(process.conversations, ada)
        call = make(process.conversations, ada)
        assert await refused(call) == ("TOO_MANY_CONVERSATIONS", {"limit": "1"})


async def test_without_a_database_it_says_so(replica: Replica, ada: Any) -> None:
    async with replica(None) as process:
        call = make(process.conversations, ada)
        assert (await refused(call))[0] == "CONVERSATIONS_OFF"


@pytest.mark.parametrize("title", ["", "x" * 201, "two\nlines"])
async def test_titles_have_bounds(stub: Any, ada: Any, title: str) -> None:
    made = await make(stub, ada)
    request = pb2.RenameConversationRequest(conversation_id=made.conversation_id, title=title)
    assert (await refused(stub.RenameConversation(request, metadata=ada)))[0] == "INVALID_REQUEST"
