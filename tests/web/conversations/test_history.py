"""Messages as turns: pure."""

from __future__ import annotations

from parley.inference.v1 import conversation_pb2, message_pb2
from parley_client.images import image
from tests.web.pictures.made import file
from web.answer import Call, Instructions, Reasoning, Saying
from web.card import CallState
from web.chat_view import conversation_messages
from web.conversation import Conversation
from web.conversations.history import turns_of

SYSTEM, USER = message_pb2.ROLE_SYSTEM, message_pb2.ROLE_USER
ASSISTANT, TOOL = message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL


def stored(
    number: int, role: message_pb2.Role.ValueType, text: str = "", run_id: str = "", **fields: object
) -> conversation_pb2.StoredMessage:
    message = message_pb2.Message(role=role, **fields)  # type: ignore[arg-type]
    if text:
        message.content.add(text=text)
    return conversation_pb2.StoredMessage(message_id=f"m{number}", message=message, run_id=run_id)


def call(call_id: str) -> message_pb2.ToolCall:
    return message_pb2.ToolCall(id=call_id, name="calculator", arguments="{}")


WITH_TOOLS = [
    stored(1, SYSTEM, "Be brief."),
    stored(2, USER, "What is it?"),
    stored(3, ASSISTANT, "Let me see.", "r1", reasoning="hm", tool_calls=[call("a"), call("b"), call("c")]),
    stored(4, TOOL, '{"result":1}', "r1", tool_call_id="a"),
    stored(5, TOOL, '{"error":{"reason":"TOOL_TIMEOUT","message":"It took long."}}', "r1", tool_call_id="b"),
    stored(6, ASSISTANT, "One.", "r1"),
    stored(7, USER, "And now?"),
]


def test_messages_become_questions_with_reasoning_calls_and_answers() -> None:
    before, first, second = turns_of(WITH_TOOLS)
    assert (before.question, before.answer.parts) == ("", [Instructions("Be brief.")])
    assert (first.question, first.message_id, first.answer.run_id) == ("What is it?", "m6", "r1")
    kinds = [type(part) for part in first.answer.parts]
    assert kinds == [Reasoning, Saying, Call, Call, Call, Saying]
    assert not first.answer.running
    assert (second.question, second.answer.parts) == ("And now?", [])


def test_images_of_questions_are_read_with_them() -> None:
    asked = stored(1, USER, content=[image(file("red"))])
    (turn,) = turns_of([asked, stored(2, ASSISTANT, "Red.")])
    assert (turn.question, [each.data for each in turn.pictures]) == ("", [file("red")])
    shown = conversation_messages(Conversation("c", turns=[turn]))
    assert f'src="images/{turn.pictures[0].id}" alt="image 1"' in shown[0]["content"][0]["text"]


def test_calls_are_as_they_ended() -> None:
    done, failed, unanswered = (p for p in turns_of(WITH_TOOLS)[1].answer.parts if isinstance(p, Call))
    assert (done.state, done.result) == (CallState.DONE, '{"result":1}')
    assert failed.state is CallState.FAILED
    assert failed.error is not None
    assert (failed.error.reason, failed.error.message) == ("TOOL_TIMEOUT", "It took long.")
    assert (unanswered.state, unanswered.result) == (CallState.STOPPED, None)


def test_a_result_that_only_looks_like_an_error_is_a_result() -> None:
    odd = ['{"error":{"reason":3,"message":[]}}', '{"error":"x","more":1}', "[" * 100_000, "null", "no JSON"]
    for number, text in enumerate(odd):
        asked = stored(1, ASSISTANT, tool_calls=[call("a")])
        (part,) = turns_of([asked, stored(2, TOOL, text, tool_call_id="a")])[0].answer.parts
        assert isinstance(part, Call)
        assert part.state is CallState.DONE, number


def test_an_answer_to_no_call_is_left_out() -> None:
    (turn,) = turns_of([stored(1, USER, "Hi"), stored(2, TOOL, "?", tool_call_id="x")])
    assert turn.answer.parts == []


def test_nothing_stored_is_no_turn() -> None:
    assert turns_of([]) == []


def test_it_is_shown_as_it_was_and_can_be_branched_after_each_answer() -> None:
    conversation = Conversation("c", turns_of(WITH_TOOLS), stored=True, at_platform=True, earlier=2)
    messages = conversation_messages(conversation)
    shown = " ".join(message["content"][0]["text"] for message in messages)
    for expected in ("2 earlier questions", "Be brief.", "Let me see.", "TOOL_TIMEOUT", "One.", "And now?"):
        assert expected in shown
    assert [message["metadata"]["title"] for message in messages if "metadata" in message] == ["Thought"]
    assert shown.count('class="p-branch p-turn-') == 2
    conversation.stored = False
    assert "p-branch" not in str(conversation_messages(conversation))
