"""Answers that the toy platform may give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from parley.inference.v1 import chat_pb2, message_pb2
from tests.client.toy_platform import calculator_answer


def approved_answer(seconds: float = 60.0) -> list[chat_pb2.ChatEvent]:
    """The events of an answer that asks about a call, which lapses after this time."""
    started, *_, usage, finished = calculator_answer()
    call = message_pb2.ToolCall(id="c1", name="python_run", arguments='{"code": "1"}')
    needed = chat_pb2.ApprovalNeeded(call=call, round=1, permission="tools.utility.python_run")
    needed.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    decided = chat_pb2.ApprovalDecided(call_id="c1", outcome=chat_pb2.APPROVAL_OUTCOME_DENIED, note="No.")
    return [
        started,
        chat_pb2.ChatEvent(tool_call=chat_pb2.ToolCallReady(call=call, round=1)),
        chat_pb2.ChatEvent(approval_needed=needed),
        chat_pb2.ChatEvent(approval_decided=decided),
        usage,
        finished,
    ]
