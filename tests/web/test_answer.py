from __future__ import annotations

from typing import Any

import grpc
import pytest

from parley.inference.v1 import chat_pb2
from parley_client.errors import ParleyError
from tests.web.scripted_edge import (
    called,
    decided,
    finished,
    needs_approval,
    progressed,
    returned,
    said,
    started,
    status,
    thought,
    used,
)
from web.answer import MAX_ANSWER_CHARACTERS, Answer, Call, Pace, Reasoning, Saying
from web.card import CallState


def answer_of(*events: dict[str, Any]) -> Answer:
    """An answer that got these events, a second apart."""
    answer = Answer(Pace(asked_at=0))
    for at, event in enumerate(events, 1):
        answer.apply(chat_pb2.ChatEvent(sequence=at, **event), float(at))
    return answer


def written(index: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    delta = chat_pb2.ToolCallDelta(index=index, id=call_id, name=name, arguments=arguments)
    return {"tool_call_delta": delta}


def test_deltas_of_a_kind_are_joined() -> None:
    answer = answer_of(started(), thought("a"), thought("b"), said("c"), said("d"))
    assert answer.parts == [Reasoning("ab", started_at=2, ended_at=4), Saying("cd")]
    assert (answer.model, answer.text, answer.running) == ("parley-demo", "cd", True)


def test_a_call_runs_and_returns() -> None:
    answer = answer_of(called("1", "calculator", "{}"), progressed("1", "half", 0.5))
    (call,) = answer.parts
    assert isinstance(call, Call)
    assert (call.state, call.fraction, call.message) == (CallState.RUNNING, 0.5, "half")
    answer.apply(chat_pb2.ChatEvent(**returned("1", "calculator", "4")), 3)
    assert (call.state, call.result, call.seconds) == (CallState.DONE, "4", 0.012)


def test_a_call_waits_for_approval_and_runs_or_does_not() -> None:
    answer = answer_of(
        called("1", "a", "{}"),
        called("2", "a", "{}"),
        needs_approval("1", "a", '{"x":1}'),
        needs_approval("2", "a", "{}"),
        needs_approval("unknown", "a", "{}"),
    )
    first, second = answer.asking
    assert first.approval is not None
    assert (first.arguments, first.approval.permission) == ('{"x":1}', "tools.utility.a")
    assert answer.waiting("1") is first.approval
    for event in (
        decided("1", chat_pb2.APPROVAL_OUTCOME_APPROVED),
        decided("2", chat_pb2.APPROVAL_OUTCOME_LAPSED),
        returned("2", "a", "{}", status(grpc.StatusCode.DEADLINE_EXCEEDED, "Nobody.", "APPROVAL_LAPSED")),
    ):
        answer.apply(chat_pb2.ChatEvent(**event), 9)
    assert (first.state, second.state) == (CallState.RUNNING, CallState.DENIED)
    assert (answer.asking, answer.waiting("1")) == ([], None)


def test_what_waits_when_the_answer_is_stopped_waits_no_more() -> None:
    answer = answer_of(called("1", "a", "{}"), needs_approval("1", "a", "{}"))
    answer.stop(9)
    assert answer.asking == []


def test_written_calls_are_superseded_by_the_complete_ones() -> None:
    answer = answer_of(
        written(0, "1", "a", '{"x"'),
        written(1, "2", "b", "{"),
        written(0, "", "", ":1}"),
        called("1", "a", '{"x":1}'),
        called("2", "b", "{}"),
    )
    calls = [(part.id, part.arguments, part.state) for part in answer.parts if isinstance(part, Call)]
    assert calls == [("1", '{"x":1}', CallState.RUNNING), ("2", "{}", CallState.RUNNING)]


def test_deltas_of_the_next_round_make_a_new_call() -> None:
    answer = answer_of(
        written(0, "1", "a", "{}"),
        called("1", "a", "{}"),
        returned("1", "a", "1"),
        written(0, "2", "a", "{}"),
    )
    states = [part.state for part in answer.parts if isinstance(part, Call)]
    assert states == [CallState.DONE, CallState.WRITING]


def test_a_failed_call_keeps_its_error() -> None:
    error = status(grpc.StatusCode.NOT_FOUND, "no file", "FILE_NOT_FOUND", path="x")
    (call,) = answer_of(called("1", "file_read", "{}"), returned("1", "file_read", "{}", error)).parts
    assert isinstance(call, Call)
    assert call.state is CallState.FAILED
    assert call.error is not None
    assert call.error.reason == "FILE_NOT_FOUND"


def test_what_tells_of_unknown_calls_changes_nothing() -> None:
    assert answer_of(progressed("9", "x"), returned("9", "x", "y"), {}).parts == []


def test_the_end_is_kept() -> None:
    error = status(grpc.StatusCode.UNAVAILABLE, "gone", "ENGINE_FAILED")
    answer = answer_of(said("a"), used(5, 7), finished(chat_pb2.FINISH_REASON_ERROR, error))
    assert not answer.running
    assert answer.finish == chat_pb2.FINISH_REASON_ERROR
    assert answer.error is not None
    assert answer.error.reason == "ENGINE_FAILED"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


@pytest.mark.parametrize("how", ["stop", "fail"])
def test_calls_that_run_when_it_breaks_are_marked(how: str) -> None:
    answer = answer_of(thought("a"), called("1", "calculator", "{}"))
    if how == "stop":
        answer.stop(9)
    else:
        answer.fail(ParleyError(grpc.StatusCode.UNAVAILABLE, "gone"), 9)
    call = answer.parts[1]
    assert isinstance(call, Call)
    assert call.state is CallState.STOPPED
    assert not answer.running


def test_the_pace_leaves_tools_out() -> None:
    answer = answer_of(
        started(), said("a"), said("b"), called("1", "c", "{}"), returned("1", "c", "1"), said("d")
    )
    assert answer.pace.first_at == 2
    assert answer.pace.talking_seconds == 1


def test_an_answer_keeps_a_bounded_amount_of_text() -> None:
    answer = answer_of(said("x" * MAX_ANSWER_CHARACTERS), said("more"))
    assert len(answer.text) == MAX_ANSWER_CHARACTERS
