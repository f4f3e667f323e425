"""What a request asks of generation, over the service: choices, forced calls, completions, tokens."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.inference.v1 import (
    chat_pb2,
    completion_pb2,
    inference_service_pb2,
    model_pb2,
    tokens_pb2,
    tool_choice_pb2,
)
from services.inference.engine.model_card import Capability, ModelCard
from services.inference.engine.options import CallMode, FormKind, OutputForm, RawPrompt, ToolChoice
from services.inference.engine.turn import ToolCall
from services.inference.reading.logprobs import TokenLogprob, TopLogprob
from services.inference.reading.step import ContentDelta, Step, StopReason, TurnEnd, TurnUsage
from services.ledger.ledger import Ledger
from tests.inference.endless import FixedLimits, terms
from tests.inference.replicas import Replica
from tests.inference.scripted import BEGIN, CARD, ScriptedEngine, calls, says
from tests.inference.test_servicer import PERMISSIONS, chat, kinds, message, read, reason, refusal, with_tools

SUM = ToolCall("call-1", "calculator", "{}")
OTHER = ToolCall("call-2", "slow", "{}")
REQUIRED = tool_choice_pb2.ToolChoice(mode=tool_choice_pb2.TOOL_CHOICE_MODE_REQUIRED)


@pytest.fixture
def metadata(tokens: Any) -> Any:
    return tokens.metadata(*PERMISSIONS)


def two_choices() -> list[Any]:
    """A turn whose second choice is cut off."""
    return [
        Step((ContentDelta("Yes.", 0),), TurnUsage(10, 1), choice=0, choice_tokens=1),
        Step((ContentDelta("N", 1),), TurnUsage(10, 2), choice=1, choice_tokens=1),
        Step((), TurnUsage(10, 3), TurnEnd(StopReason.STOP, stop_text="!"), choice=0, choice_tokens=2),
        Step(
            (ContentDelta("o", 1),), TurnUsage(10, 4), TurnEnd(StopReason.LENGTH), choice=1, choice_tokens=2
        ),
    ]


async def test_each_choice_has_its_deltas_and_its_end(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine(two_choices())) as process:
        request = chat(sampling={"choice_count": 2, "temperature": 1})
        events = await read(process.stub.Chat(request, metadata=metadata))
    told: dict[int, str] = {0: "", 1: ""}
    for event in events:
        told[event.content_delta.choice] += event.content_delta.text
    assert told == {0: "Yes.", 1: "No"}
    assert events[-2].usage.completion_tokens == 4
    finished = events[-1].finished
    assert reason(events) == "STOP"
    assert [(end.choice, end.reason, end.completion_tokens, end.stop_text) for end in finished.choices] == [
        (0, chat_pb2.FINISH_REASON_STOP, 2, "!"),
        (1, chat_pb2.FINISH_REASON_LENGTH, 2, ""),
    ]


async def test_choices_of_a_model_with_tools_are_refused(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(with_tools(sampling={"choice_count": 2}), metadata=metadata))
    assert refusal(refused.value)[0] == "INVALID_REQUEST"


async def test_logprobs_travel(replica: Replica, metadata: Any) -> None:
    known = TokenLogprob(5, b"\xe2", -0.5, (TopLogprob(5, b"\xe2", -0.5), TopLogprob(6, b"y", -2.0)))
    first = TokenLogprob(4, b"x", None)
    engine = ScriptedEngine([ContentDelta("x\u20ac", logprobs=(first, known)), TurnEnd(StopReason.STOP)])
    async with replica(engine) as process:
        events = await read(process.stub.Chat(chat(sampling={"top_logprobs": 2}), metadata=metadata))
    unknown, told = events[1].content_delta.logprobs
    assert not unknown.HasField("logprob")
    assert (told.token, told.text_bytes, told.logprob, told.token_id) == ("\ufffd", b"\xe2", -0.5, 5)
    assert [(top.token, top.logprob) for top in told.top] == [("\ufffd", -0.5), ("y", -2.0)]


async def test_a_forced_call_is_forced_once(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM), says("391."))
    async with replica(engine) as process:
        events = await read(process.stub.Chat(with_tools(tool_choice=REQUIRED), metadata=metadata))
    assert reason(events) == "STOP"
    assert [turn.tool_choice for turn in engine.rendered] == [ToolChoice(CallMode.REQUIRED), ToolChoice()]


async def test_no_call_holds_for_every_turn(replica: Replica, metadata: Any) -> None:
    none = tool_choice_pb2.ToolChoice(mode=tool_choice_pb2.TOOL_CHOICE_MODE_NONE)
    engine = ScriptedEngine(calls(SUM), says("391."))
    async with replica(engine) as process:
        await read(process.stub.Chat(with_tools(tool_choice=none), metadata=metadata))
    assert {turn.tool_choice.mode for turn in engine.rendered} == {CallMode.NONE}


@pytest.mark.parametrize(
    ("request_", "reason_"),
    [
        (chat(tool_choice=REQUIRED), "INVALID_REQUEST"),
        (with_tools(tool_choice=tool_choice_pb2.ToolChoice(name="teleport")), "TOOL_NOT_OFFERED"),
        (chat(sampling={"logit_bias": {BEGIN + 1: 1.0}}), "TOKEN_UNKNOWN"),
        (chat(sampling={"stop_token_ids": [BEGIN + 1]}), "TOKEN_UNKNOWN"),
        (chat(sampling={"min_output_tokens": 991}), "CONTEXT_OVERFLOW"),
    ],
    ids=["no tools", "unknown tool", "bias", "stop token", "least tokens"],
)
async def test_what_cannot_be_done_is_refused(
    replica: Replica, metadata: Any, request_: chat_pb2.ChatRequest, reason_: str
) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(request_, metadata=metadata))
    assert refusal(refused.value)[0] == reason_


async def test_a_model_without_calls_cannot_be_made_to_call(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine(card=ModelCard("scripted", 1000))) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(with_tools(tool_choice=REQUIRED), metadata=metadata))
    assert refusal(refused.value) == ("MODEL_LACKS", {"model": "scripted", "field": "tool_choice"})


async def test_only_the_first_of_several_calls_is_kept(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM, OTHER), says("391."))
    async with replica(engine) as process:
        events = await read(process.stub.Chat(with_tools(parallel_tool_calls=False), metadata=metadata))
    assert [event.tool_call.call.name for event in events if event.HasField("tool_call")] == ["calculator"]
    assert {event.tool_call_delta.index for event in events if event.HasField("tool_call_delta")} == {0}
    assert [call.id for call in engine.rendered[1].messages[1].tool_calls] == ["call-1"]


async def test_the_engine_is_told_what_is_asked(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine()
    async with replica(engine) as process:
        request = chat(
            structured_output={"choices": {"texts": ["yes", "no"]}},
            reasoning={"effort": chat_pb2.REASONING_EFFORT_LOW},
            sampling={"presence_penalty": -2, "logit_bias": {1: 5}, "ignore_eos": True},
        )
        await read(process.stub.Chat(request, metadata=metadata))
    (turn,) = engine.rendered
    assert turn.form == OutputForm(FormKind.CHOICES, choices=("yes", "no"))
    assert (turn.reasoning, turn.effort) == (True, "low")
    assert (turn.sampling.presence_penalty, turn.sampling.ignore_eos) == (-2, True)
    assert turn.sampling.logit_bias == {1: 5}


async def test_choices_end_together_where_the_budget_does(
    replica: Replica, metadata: Any, store: Redis
) -> None:
    """Four times 900 tokens are asked for, and fifty are there."""
    await Ledger(store).mark_ready()
    usage = [TurnUsage(10, count) for count in range(1, 400)]
    lines = [
        Step((ContentDelta("x", at % 4),), used, choice=at % 4, choice_tokens=at // 4 + 1)
        for at, used in enumerate(usage)
    ]
    limits = FixedLimits(terms(f"user/{ULID()}", tokens_per_day=60))
    async with replica(ScriptedEngine(lines), limits) as process:
        request = chat(sampling={"choice_count": 4, "max_output_tokens": 900})
        events = await read(process.stub.Chat(request, metadata=metadata))
    assert reason(events) == "BUDGET"
    assert events[-2].usage.completion_tokens <= 50
    assert {end.reason for end in events[-1].finished.choices} == {chat_pb2.FINISH_REASON_BUDGET}


async def test_a_completion_is_a_run(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(says("and so on."))
    async with replica(engine) as process:
        request = completion_pb2.CompleteRequest(text="Once", echo=True, sampling={"max_output_tokens": 9})
        events = await read(process.stub.Complete(request, metadata=metadata))
    assert kinds(events) == ["started", "content_delta", "usage", "finished"]
    assert reason(events) == "STOP"
    assert engine.rendered[0].raw == RawPrompt("Once", echo=True)
    assert engine.budgets == [9]


async def test_an_echo_alone_asks_the_engine_for_no_more_than_it_must(
    replica: Replica, metadata: Any
) -> None:
    engine = ScriptedEngine([ContentDelta("Once"), TurnEnd(StopReason.LENGTH)])
    async with replica(engine) as process:
        request = completion_pb2.CompleteRequest(
            text="Once", echo=True, echo_only=True, sampling={"max_output_tokens": 9, "min_output_tokens": 5}
        )
        events = await read(process.stub.Complete(request, metadata=metadata))
        assert reason(events) == "LENGTH"
        assert engine.rendered[0].raw == RawPrompt("Once", echo=True, echo_only=True)
        assert engine.budgets == [1]
        request.echo = False
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Complete(request, metadata=metadata))
    assert refusal(refused.value)[0] == "INVALID_REQUEST"


async def test_a_completion_of_unknown_tokens_is_refused(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        request = completion_pb2.CompleteRequest(tokens={"ids": [1, BEGIN + 7]})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Complete(request, metadata=metadata))
    told = {"field": "tokens.ids", "token_id": str(BEGIN + 7), "vocabulary_size": str(BEGIN + 1)}
    assert refusal(refused.value) == ("TOKEN_UNKNOWN", told)


async def test_tokens_go_there_and_back(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        asked = tokens_pb2.TokenizeRequest(text="h\u20ac", include_texts=True)
        told = await process.stub.Tokenize(asked, metadata=metadata)
        assert list(told.token_ids) == [BEGIN, *"h\u20ac".encode()]
        assert list(told.token_texts)[1:3] == [b"h", b"\xe2"]
        assert told.context_length == 1000
        plain = tokens_pb2.TokenizeRequest(text="h", add_special_tokens=False)
        assert list((await process.stub.Tokenize(plain, metadata=metadata)).token_ids) == [ord("h")]
        back = tokens_pb2.DetokenizeRequest(tokens={"ids": told.token_ids})
        assert (await process.stub.Detokenize(back, metadata=metadata)).text == "h\u20ac"
        counted = await process.stub.CountTokens(tokens_pb2.CountTokensRequest(text="h"), metadata=metadata)
        assert counted.token_count == 2
        messages = tokens_pb2.CountTokensRequest(chat={"messages": [message("Hi")]})
        assert (await process.stub.CountTokens(messages, metadata=metadata)).token_count == 10
        beyond = tokens_pb2.DetokenizeRequest(tokens={"ids": [BEGIN + 1]})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.stub.Detokenize(beyond, metadata=metadata)
    assert refusal(refused.value)[0] == "TOKEN_UNKNOWN"


async def test_a_model_shows_what_it_can_do(replica: Replica, metadata: Any) -> None:
    card = ModelCard("scripted", 1000, vocabulary_size=5, revision="r1", capabilities=frozenset(Capability))
    async with replica(ScriptedEngine(card=card)) as process:
        asked = inference_service_pb2.GetModelRequest(name="scripted")
        shown = await process.stub.GetModel(asked, metadata=metadata)
        model, status = shown.model, shown.engine_status
        assert (model.revision, model.vocabulary_size) == ("r1", 5)
        assert model_pb2.MODEL_CAPABILITY_COMPLETE in model.capabilities
        assert model_pb2.MODEL_CAPABILITY_TOOLS not in model.capabilities
        assert (status.running_requests, status.waiting_requests, status.slots) == (0, 0, 64)
        assert (status.kv_cache_use, status.prefix_queries, status.prefix_hits) == (0.25, 8, 4)
        unknown = inference_service_pb2.GetModelRequest(name="nobody")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.stub.GetModel(unknown, metadata=metadata)
    assert refusal(refused.value)[0] == "MODEL_NOT_FOUND"
    assert CARD.vocabulary_size == BEGIN + 1
