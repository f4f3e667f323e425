from __future__ import annotations

from parley.inference.v1 import message_pb2
from tests.web.scripted_edge import called, finished, returned, said, thought
from tests.web.test_answer import answer_of
from web.answer import Answer, Pace
from web.conversation import MAX_TURNS, UNTITLED, Conversation, Turn

USER, ASSISTANT, TOOL = message_pb2.ROLE_USER, message_pb2.ROLE_ASSISTANT, message_pb2.ROLE_TOOL


def told(*turns: Turn) -> list[message_pb2.Message]:
    return list(Conversation("c", list(turns)).request("m").messages)


def asked(question: str) -> Turn:
    return Turn(question, Answer(Pace(asked_at=0)))


def test_the_first_question_gives_the_title() -> None:
    assert Conversation("c").title == UNTITLED
    assert Conversation("c", [asked("What\n is  it?")]).title == "What is it?"
    long = Conversation("c", [asked("word " * 30)]).title
    assert len(long) <= 48
    assert long.endswith("…")


def test_a_request_names_the_model_and_offers_all_tools() -> None:
    request = Conversation("c", [asked("Hello")]).request("m")
    assert (request.model, request.server_tools.all) == ("m", True)
    assert [(message.role, message.content[0].text) for message in request.messages] == [(USER, "Hello")]


def test_past_rounds_are_told_with_their_results_and_without_reasoning() -> None:
    past = answer_of(
        thought("hm"),
        said("Let me see. "),
        called("1", "a", "{}", 1),
        called("2", "b", "{}", 1),
        returned("1", "a", "one"),
        returned("2", "b", "two"),
        called("3", "a", "{}", 2),
        returned("3", "a", "three"),
        said("Done."),
        finished(),
    )
    messages = told(Turn("Go", past), asked("And?"))
    assert [message.role for message in messages] == [
        USER,
        ASSISTANT,
        TOOL,
        TOOL,
        ASSISTANT,
        TOOL,
        ASSISTANT,
        USER,
    ]
    assert [call.id for call in messages[1].tool_calls] == ["1", "2"]
    assert messages[1].content[0].text == "Let me see. "
    assert [message.tool_call_id for message in messages[2:4]] == ["1", "2"]
    assert messages[6].content[0].text == "Done."
    assert not any(message.reasoning for message in messages)


def test_a_call_without_a_result_is_left_out() -> None:
    stopped = answer_of(said("Let me see."), called("1", "a", "{}"))
    stopped.stop(9)
    messages = told(Turn("Go", stopped), asked("And?"))
    assert [message.role for message in messages] == [USER, ASSISTANT, USER]
    assert not messages[1].tool_calls


def test_a_turn_without_an_answer_is_left_out() -> None:
    failed = answer_of(finished())
    assert [message.content[0].text for message in told(Turn("Go", failed), asked("Again"))] == ["Again"]


def test_the_platform_puts_what_it_stores_before_the_question_itself() -> None:
    conversation = Conversation("c", [Turn("Go", answer_of(said("Yes."), finished()))], stored=True)
    conversation.ask("And?", Answer(Pace(asked_at=0)))
    request = conversation.request("m")
    assert [message.content[0].text for message in request.messages] == ["And?"]
    assert (request.conversation_id, request.continue_conversation) == ("c", True)
    plain = Conversation("c", conversation.turns).request("m")
    assert (len(plain.messages), plain.conversation_id, plain.continue_conversation) == (3, "", False)


def test_of_a_long_stored_one_the_newest_turns_are_shown() -> None:
    conversation = Conversation("c", [asked("x")] * MAX_TURNS, stored=True)
    assert not conversation.full
    conversation.ask("y", Answer(Pace(asked_at=0)))
    assert (len(conversation.turns), conversation.earlier) == (MAX_TURNS, 1)


def test_a_name_stands_in_place_of_the_first_question() -> None:
    assert Conversation("c", [asked("What?")], name="Rome").title == "Rome"


def test_a_conversation_gets_full() -> None:
    conversation = Conversation("c", [asked("x")] * (MAX_TURNS - 1))
    assert not conversation.full
    conversation.turns.append(asked("x"))
    assert conversation.full
