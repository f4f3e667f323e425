"""The order that messages must stand in before a chat template sees them."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.engine.turn import Message, Role
from services.inference.errors import MessagesInvalid


def check_order(messages: Sequence[Message]) -> None:
    """Refuse messages that no chat template could make sense of.

    The last one must be what is to be answered, and every call be answered.

    Raises:
        MessagesInvalid: The first message at fault is named.
    """
    check_answers(messages)
    if messages[-1].role not in (Role.USER, Role.TOOL):
        last = len(messages) - 1
        raise MessagesInvalid(f"messages[{last}]: the last message must be the user's or a tool's.")


def check_answers(messages: Sequence[Message]) -> None:
    """Refuse messages of which no conversation can be made up.

    Every tool message must answer a call, and every call must be answered
    before anyone else speaks.

    Raises:
        MessagesInvalid: The first message at fault is named.
    """
    waiting: set[str] = set()
    for at, message in enumerate(messages):
        if message.role is Role.TOOL:
            _take_answer(at, message.tool_call_id, waiting)
            continue
        _refuse_unanswered(at, waiting)
        if message.role is Role.ASSISTANT:
            waiting = _call_ids(at, message)
    _refuse_unanswered(len(messages), waiting)


def _take_answer(at: int, call_id: str, waiting: set[str]) -> None:
    if call_id not in waiting:
        raise MessagesInvalid(f"messages[{at}] answers {call_id!r}, which no call before it waits for.")
    waiting.remove(call_id)


def _refuse_unanswered(at: int, waiting: set[str]) -> None:
    if waiting:
        missing = ", ".join(sorted(waiting))
        raise MessagesInvalid(f"before messages[{at}] these calls must be answered: {missing}.")


def _call_ids(at: int, message: Message) -> set[str]:
    ids = {call.id for call in message.tool_calls}
    if len(ids) != len(message.tool_calls):
        raise MessagesInvalid(f"messages[{at}] has two calls with one id.")
    return ids
