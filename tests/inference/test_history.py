from __future__ import annotations

import pytest

from services.inference.engine.turn import Message, Role, ToolCall
from services.inference.errors import ConversationFull
from services.inference.history import History

HELLO = Message(Role.USER, "Hello")
ANSWER = Message(Role.ASSISTANT, "Hi.", "Be short.")


def test_turns_and_answers_are_kept_in_order() -> None:
    history = History((HELLO, ANSWER))
    assert history.asked(HELLO) == (HELLO, ANSWER, HELLO)
    history.add(HELLO, (ANSWER,))
    assert history.messages == (HELLO, ANSWER, HELLO, ANSWER)


def test_a_turn_that_nothing_was_said_to_is_left_out() -> None:
    history = History(())
    history.add(HELLO, ())
    assert history.messages == ()


def test_messages_are_bounded() -> None:
    history = History((HELLO, ANSWER), max_messages=3)
    assert history.asked(HELLO)
    history.add(HELLO, (ANSWER,))
    with pytest.raises(ConversationFull) as full:
        history.asked(HELLO)
    assert full.value.metadata["limit_messages"] == "3"


def test_every_text_counts_in_bytes() -> None:
    call = ToolCall("call-1", "calculator", "é" * 10)
    told = Message(Role.ASSISTANT, "", "r" * 5, (call,))
    # 25 bytes before, 5 of the question.
    assert History((told,), max_bytes=30).asked(HELLO)
    with pytest.raises(ConversationFull):
        History((told,), max_bytes=29).asked(HELLO)
