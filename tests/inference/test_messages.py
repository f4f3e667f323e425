from __future__ import annotations

import pytest

from services.inference.engine.turn import Message, Role, ToolCall
from services.inference.errors import MessagesInvalid
from services.inference.messages import check_order

USER = Message(Role.USER, "Hi")
SYSTEM = Message(Role.SYSTEM, "Be brief.")
ASSISTANT = Message(Role.ASSISTANT, "Hello.")


def calling(*ids: str) -> Message:
    return Message(Role.ASSISTANT, "", tool_calls=tuple(ToolCall(each, "calculator", "{}") for each in ids))


def answer(call_id: str) -> Message:
    return Message(Role.TOOL, "{}", tool_call_id=call_id)


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [SYSTEM, USER, ASSISTANT, USER],
        [USER, calling("a", "b"), answer("b"), answer("a")],
        [USER, calling("a"), answer("a"), ASSISTANT, USER],
        [USER, calling("a"), answer("a"), calling("a"), answer("a")],
    ],
)
def test_orders_that_make_sense(messages: list[Message]) -> None:
    check_order(messages)
    assert messages


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([USER, ASSISTANT], "messages[1]: the last message"),
        ([SYSTEM], "messages[0]: the last message"),
        ([answer("a")], "messages[0] answers 'a'"),
        ([USER, calling("a"), answer("b")], "messages[2] answers 'b'"),
        ([USER, calling("a"), answer("a"), answer("a")], "messages[3] answers 'a'"),
        ([USER, calling("a", "b"), answer("a"), USER], "before messages[3] these calls must be answered: b"),
        ([USER, calling("a")], "before messages[2]"),
        ([USER, calling("a", "a"), answer("a")], "messages[1] has two calls with one id"),
    ],
)
def test_orders_that_make_none(messages: list[Message], fault: str) -> None:
    with pytest.raises(MessagesInvalid) as refused:
        check_order(messages)
    assert fault in refused.value.message
