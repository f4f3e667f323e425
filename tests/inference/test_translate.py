from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf import duration_pb2
from google.rpc import status_pb2

from parley.inference.v1 import answer_pb2, chat_pb2, converse_pb2, message_pb2, model_pb2
from parley.tools.v1 import tool_pb2
from services.inference.calling.waiting_calls import ClientResult, Decision
from services.inference.engine.model_card import ModelCard
from services.inference.engine.turn import Message, Role, Sampling, ToolCall
from services.inference.models import ModelState, ServedModel
from services.inference.reading.step import ContentDelta, ReasoningDelta, ToolCallDelta
from services.inference.runs.events import (
    ApprovalDecided,
    ApprovalNeeded,
    ApprovalOutcome,
    CallProgress,
    CallReady,
    CallResult,
    Finished,
    FinishReason,
    RunEvent,
    RunUsage,
    Started,
)
from services.inference.runs.order import Limits
from services.inference.translation import messages as translate_messages
from services.inference.translation import models as translate_models
from services.inference.translation import requests as translate
from services.inference.translation.events import chat_response
from tests.inference.pictures import shown
from tests.inference.scripted import ScriptedEngine

CALL = ToolCall("call-1", "calculator", "{}")
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def text(*parts: str) -> list[message_pb2.ContentPart]:
    return [message_pb2.ContentPart(text=part) for part in parts]


def test_an_empty_request_takes_every_default() -> None:
    order = translate.chat_order(chat_pb2.ChatRequest())
    assert (order.sampling, order.limits, order.reasoning) == (Sampling(), Limits(), None)
    assert not order.tools.all


def test_set_fields_count_even_when_they_are_zero() -> None:
    request = chat_pb2.ChatRequest(
        sampling=chat_pb2.SamplingOptions(temperature=0, top_k=0, seed=0, stop=["x"], max_output_tokens=5),
        reasoning=chat_pb2.ReasoningOptions(enabled=False),
        limits=chat_pb2.RunLimits(max_tool_rounds=0, max_duration=duration_pb2.Duration(seconds=3)),
        server_tools=chat_pb2.ServerTools(names=["calculator"]),
    )
    order = translate.chat_order(request)
    assert order.sampling == Sampling(temperature=0, top_k=0, seed=0, max_output_tokens=5, stop=("x",))
    assert order.limits == Limits(max_tool_rounds=0, max_seconds=3)
    assert order.reasoning is False
    assert order.tools.names == ("calculator",)


def test_messages_keep_their_parts() -> None:
    given = message_pb2.Message(
        role=message_pb2.ROLE_ASSISTANT,
        content=text("a", "b"),
        reasoning="r",
        tool_calls=[message_pb2.ToolCall(id="call-1", name="calculator", arguments="{}")],
    )
    assert translate_messages.message(given) == Message(Role.ASSISTANT, "ab", "r", (CALL,))


def test_images_keep_their_places_there_and_back() -> None:
    given = shown(b"one", "What is ", "this? ", b"two", b"three", " Well?")
    message = translate_messages.message(given)
    assert message.content == "What is this?  Well?"
    assert [(image.data, image.at) for image in message.images] == [(b"one", 0), (b"two", 14), (b"three", 14)]
    back = translate_messages.stored(message)
    assert [part.text or part.image.data for part in back.content] == [
        *(b"one", "What is this? ", b"two", b"three", " Well?")
    ]
    assert translate_messages.message(back) == message
    turn = translate_messages.user_turn(converse_pb2.UserTurn(content=given.content))
    assert (turn.content, turn.images) == (message.content, message.images)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (Started("m", 3, ("calculator",)), "started"),
        (ReasoningDelta("r"), "reasoning_delta"),
        (ContentDelta("c"), "content_delta"),
        (ToolCallDelta(0, "call-1", "calculator", "{"), "tool_call_delta"),
        (CallReady(CALL, 1), "tool_call"),
        (ApprovalNeeded(CALL, 1, 3, "tools.math.calculator", NOW), "approval_needed"),
        (ApprovalDecided("call-1", ApprovalOutcome.LAPSED), "approval_decided"),
        (CallProgress("call-1", None, "busy"), "tool_progress"),
        (CallResult(CALL, "{}", None, 0.25), "tool_result"),
        (RunUsage(1, 2, 3, 4, 5), "usage"),
        (Finished(FinishReason.STOP), "finished"),
    ],
)
def test_every_event_has_its_member(event: RunEvent, kind: str) -> None:
    response = chat_response(7, "run-1", event)
    assert response.event.sequence == 7
    assert response.event.WhichOneof("event") == kind


def test_details_of_events_arrive() -> None:
    error = status_pb2.Status(code=13, message="no")
    started = chat_response(1, "run-1", Started("m", 3, (), error)).event.started
    assert (started.run_id, started.tools_error) == ("run-1", error)
    progress = chat_response(2, "run-1", CallProgress("call-1", None, "")).event.tool_progress
    assert not progress.HasField("fraction")
    result = chat_response(3, "run-1", CallResult(CALL, "{}", error, 1.5)).event.tool_result
    assert (result.error, result.duration.ToMilliseconds()) == (error, 1500)
    ready = chat_response(3, "run-1", CallReady(CALL, 1, True, NOW)).event.tool_call
    assert (ready.client_side, ready.expire_time.ToDatetime(UTC)) == (True, NOW)
    assert not chat_response(3, "run-1", CallReady(CALL, 1)).event.tool_call.HasField("expire_time")
    needed = ApprovalNeeded(CALL, 2, tool_pb2.SAFETY_LEVEL_DANGEROUS, "tools.math.calculator", NOW)
    asked = chat_response(3, "run-1", needed).event.approval_needed
    assert (asked.call.name, asked.round, asked.permission) == ("calculator", 2, "tools.math.calculator")
    assert asked.safety_level == tool_pb2.SAFETY_LEVEL_DANGEROUS
    assert asked.expire_time.ToDatetime(UTC) == NOW
    usage = chat_response(4, "run-1", RunUsage(1, 2, 3, 4, 5)).event.usage
    assert usage == chat_pb2.Usage(
        prompt_tokens=1, completion_tokens=2, cached_prompt_tokens=3, reasoning_tokens=4, turns=5
    )


@pytest.mark.parametrize("outcome", ApprovalOutcome)
def test_every_outcome_of_an_approval_is_one_of_the_contract(outcome: ApprovalOutcome) -> None:
    told = chat_response(1, "run-1", ApprovalDecided("call-1", outcome, "No.")).event.approval_decided
    name = chat_pb2.ApprovalOutcome.Name(told.outcome)
    assert (name, told.note) == (f"APPROVAL_OUTCOME_{outcome.name}", "No.")


def test_answers_from_outside_are_read() -> None:
    failed = answer_pb2.ClientToolResult(call_id="a", error="no")
    assert translate.client_result(failed) == ClientResult("no", failed=True)
    assert translate.client_result(answer_pb2.ClientToolResult(content="")) == ClientResult("")
    approve = answer_pb2.ApprovalDecision(verdict=answer_pb2.APPROVAL_VERDICT_APPROVE, note="Yes.")
    assert translate.decision(approve) == Decision(approved=True, note="Yes.")
    assert not translate.decision(
        answer_pb2.ApprovalDecision(verdict=answer_pb2.APPROVAL_VERDICT_DENY)
    ).approved


@pytest.mark.parametrize("reason", FinishReason)
def test_every_finish_reason_is_one_of_the_contract(reason: FinishReason) -> None:
    finished = chat_response(1, "run-1", Finished(reason)).event.finished
    assert chat_pb2.FinishReason.Name(finished.reason) == f"FINISH_REASON_{reason.name}"


def test_the_domain_knows_every_finish_reason() -> None:
    names = {name.removeprefix("FINISH_REASON_") for name in chat_pb2.FinishReason.keys()}  # noqa: SIM118
    assert names - {"UNSPECIFIED"} == {reason.name for reason in FinishReason}


def test_a_model_that_is_loading_has_no_card_yet() -> None:
    shown = translate_models.model(ServedModel("m", is_default=True))
    assert (shown.state, shown.context_length) == (model_pb2.MODEL_STATE_LOADING, 0)


def test_a_model_shows_its_card() -> None:
    engine = ScriptedEngine(card=ModelCard("m", 100, supports_reasoning=True, supports_tools=True))
    shown = translate_models.model(ServedModel("m", is_default=False, engine=engine, state=ModelState.FAILED))
    assert shown == model_pb2.Model(
        name="m",
        context_length=100,
        state=model_pb2.MODEL_STATE_FAILED,
        supports_reasoning=True,
        supports_tools=True,
        capabilities=[model_pb2.MODEL_CAPABILITY_TOOLS, model_pb2.MODEL_CAPABILITY_REASONING],
    )
