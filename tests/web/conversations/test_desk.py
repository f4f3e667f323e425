"""Stored conversations on the page, called as Gradio calls them."""

from __future__ import annotations

import asyncio

import gradio as gr

from parley.inference.v1 import conversation_service_pb2, message_pb2
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.web.conversations.conftest import PERMISSIONS, Login, words
from tests.web.scripts import HOSTILE


async def test_what_is_asked_is_stored_and_the_next_question_carries_no_history(
    log_in: Login, engine: ScriptedEngine
) -> None:
    ada = await log_in()
    engine.script(says("Two things."), says("Three."))
    assert "What you ask is kept here, for you alone." in await ada.side()
    _, side = await ada.ask("What is there?")
    assert "Conversations Export all What is there?" in side
    chat, _ = await ada.ask("And now?")
    assert "Three." in chat
    assert [each.content for each in engine.rendered[1].messages] == [
        "What is there?",
        "Two things.",
        "And now?",
    ]


async def test_another_login_opens_it_as_it_was_and_goes_on(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(calls(ToolCall("c1", "calculator", "{}")), says("It is 391."))
    await ada.ask("What is 17 * 23?")
    again = await log_in()
    assert "What is 17 * 23?" in await again.side()
    chat, _ = await again.act("open", id=ada.shown)
    for expected in ("I need a tool.", "calculator", '"result"', "It is 391.", "Branch from here"):
        assert expected in chat
    engine.script(says("Sure."))
    chat, _ = await again.ask("Sure?")
    assert chat.index("It is 391.") < chat.index("Sure.")
    assert len(engine.rendered[-1].messages) == 5


async def test_nobody_else_sees_or_opens_it(log_in: Login, engine: ScriptedEngine) -> None:
    ada, eve = await log_in(), await log_in(user_id="user-2")
    engine.script(says("The secret is 42."))
    await ada.ask("Tell me a secret")
    assert "secret" not in await eve.side()
    assert "has “secret” in it" in (await eve.act("filter", query="secret"))[1]
    for act in ({"name": "open"}, {"name": "rename", "title": "mine"}):
        chat, side = await eve.act(**act, id=ada.shown)
        assert "CONVERSATION_NOT_FOUND" in side
        assert chat == ""
    await eve.act("delete", id=ada.shown)
    assert "Tell me a secret" in await ada.side()


async def test_it_is_renamed_and_searched(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("The Forum."))
    await ada.ask("What is old?")
    shown = await ada.conversations.act(
        gr.EventData(None, {"act": "change", "fields": {"id": [ada.shown], "title": ["What is old?"]}}),
        None,
        await ada.request(),
    )
    assert 'data-act="rename"' in shown[1]
    _, side = await ada.act("rename", id=ada.shown, title="Rome")
    assert "Conversations Export all Rome" in side
    _, side = await ada.act("filter", query="FORUM")
    assert "What was said Rome The Forum." in side
    _, side = await ada.act("filter", query="rom")
    assert "Titles Rome" in side
    assert "Conversations Export all Rome" in (await ada.act("filter", query=""))[1]
    _, side = await ada.act("rename", id=ada.shown, title="x" * 201)
    assert "title" in side


async def test_a_branch_goes_on_otherwise(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("One."), says("Two."), says("Other."))
    await ada.ask("First?")
    await ada.ask("Second?")
    origin = ada.shown
    chat, side = await ada.act("branch", turn="0")
    assert ada.shown != origin
    assert "One." in chat
    assert "Two." not in chat
    assert "branch" in side
    await ada.ask("Otherwise?")
    assert [each.content for each in engine.rendered[-1].messages] == ["First?", "One.", "Otherwise?"]
    assert "Two." in (await ada.act("open", id=origin))[0]
    assert "There is nothing to branch from." in (await ada.act("branch", turn="7"))[1]


async def test_what_said_nothing_cannot_be_branched_from(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("One."))
    await ada.ask("First?")
    (turn,) = ada.session.conversations[ada.shown].turns
    turn.answer.run_id = "01ARZ3NDEKTSV4RRFFQ69G0000"
    assert "Nothing of this answer was stored" in (await ada.act("branch", turn="0"))[1]


async def test_a_deleted_one_is_gone_and_a_new_one_begins(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("One."))
    await ada.ask("First?")
    deleted = ada.shown
    chat, side = await ada.act("delete", id=deleted)
    assert (chat, ada.shown != deleted) == ("", True)
    assert "First?" not in side
    assert "CONVERSATION_NOT_FOUND" in (await ada.act("open", id=deleted))[1]


async def test_what_is_not_to_be_stored_stays_with_the_login(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("One."), says("Two."))
    await ada.side()
    await ada.act("store")
    _, side = await ada.ask("Off the record?")
    assert "Not stored, gone with your login Off the record?" in side
    await ada.ask("Still?")
    assert [each.content for each in engine.rendered[1].messages] == ["Off the record?", "One.", "Still?"]
    assert "Off the record?" not in await (await log_in()).side()
    _, side = await ada.act("rename", id=ada.shown, title="Private")
    assert "Private" in side
    assert "Private" not in (await ada.act("delete", id=ada.shown))[1]
    await ada.act("store", stores="on")
    assert ada.session.conversation(ada.shown).stored


async def test_without_a_database_or_a_permission_nothing_is_stored(
    log_in: Login, engine: ScriptedEngine
) -> None:
    without = [permission for permission in PERMISSIONS if "conversations" not in permission]
    for ada in (await log_in(stored=False), await log_in(may=without)):
        engine.script(says("One."))
        assert "listed here until you log out" in await ada.side()
        _, side = await ada.ask("First?")
        assert side == "Conversations First? ⋯ Rename Delete"
        assert not ada.session.conversations[ada.shown].stored


async def test_an_answer_that_is_left_is_stored_as_far_as_it_came(
    log_in: Login, engine: ScriptedEngine
) -> None:
    ada, gate = await log_in(), Gate()
    engine.script([ContentDelta("Once upon"), gate, *says(" a time.")])
    asking = asyncio.create_task(ada.ask("A story?"))
    async with asyncio.timeout(15):
        await gate.reached.wait()
    conversation_id = ada.shown
    assert "Delete" in (await ada.act("open", id=conversation_id))[1]
    await ada.conversations.begin(None, await ada.request())
    await asking
    async with asyncio.timeout(15):
        while not (await ada.client.conversations.get(conversation_id)).message_count:  # noqa: ASYNC110 - looks at a database
            await asyncio.sleep(0.01)
    assert "Once upon" in (await ada.act("open", id=conversation_id))[0]


async def test_one_that_is_answered_elsewhere_says_so(log_in: Login, engine: ScriptedEngine) -> None:
    ada, other, gate = await log_in(), await log_in(), Gate()
    engine.script([ContentDelta("Slowly."), gate, *says(" Done.")])
    asking = asyncio.create_task(ada.ask("A story?"))
    async with asyncio.timeout(15):
        await gate.reached.wait()
    await other.act("open", id=ada.shown)
    chat, _ = await other.ask("And?")
    assert "CONVERSATION_BUSY" in chat
    gate.open.set()
    assert "Slowly. Done." in (await asking)[0]


async def test_a_long_list_has_pages_with_the_one_on_show_on_top(log_in: Login) -> None:
    ada = await log_in()
    for number in range(25):
        await ada.client.conversations.create(title=f"Talk {number:02d}")
    side = await ada.side()
    assert side.index("Talk 24") < side.index("Talk 05") < side.index("Page 1")
    assert "Talk 04" not in side
    _, side = await ada.act("next")
    assert "Talk 04" in side
    oldest = await ada.client.conversations.list(conversation_service_pb2.ListConversationsRequest())
    await ada.act("open", id=oldest.conversations[-1].conversation_id)
    _, side = await ada.act("previous")
    assert side.index("Talk 00") < side.index("Talk 24")


async def test_titles_and_texts_stay_text(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    content = [message_pb2.ContentPart(text=HOSTILE)]
    hostile = message_pb2.Message(role=message_pb2.ROLE_USER, content=content)
    made = await ada.client.conversations.create(title=HOSTILE, messages=[hostile])
    for name, fields in (("open", {"id": made.conversation_id}), ("filter", {"query": "script"})):
        sent = {"act": name, "fields": {field: [value] for field, value in fields.items()}}
        update = await ada.conversations.act(gr.EventData(None, sent), None, await ada.request())
        assert "<script" not in update[1]
        assert "<img" not in str(update[0])
        assert "onerror" in words(update[1])


async def test_what_the_side_cannot_do_changes_nothing(log_in: Login) -> None:
    ada = await log_in()
    assert "The page cannot do that." in (await ada.act("explode"))[1]


async def test_refreshing_leaves_a_form_open(log_in: Login, engine: ScriptedEngine) -> None:
    ada = await log_in()
    engine.script(says("One."), says("Two."))
    await ada.ask("First?")
    await ada.act("change", id=ada.shown, title="First?")
    _, side = await ada.ask("Second?")
    assert "Save" in side
