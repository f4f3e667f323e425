from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from google.rpc import code_pb2

from services.inference.calling.errors import ToolNotOffered
from services.inference.calling.tool_calls import Offer, ToolSelection
from services.inference.engine.model_card import ModelCard
from services.inference.engine.turn import Message, Role, Sampling, ToolCall
from services.inference.errors import ContextOverflow, EngineFailed, MessagesInvalid
from services.inference.reading.step import ContentDelta, StopReason, TurnEnd
from services.inference.runs.agent_loop import AgentLoop
from services.inference.runs.events import (
    CallProgress,
    CallReady,
    CallResult,
    ChoiceEnd,
    Finished,
    FinishReason,
    RunEvent,
    RunUsage,
    Started,
)
from services.inference.runs.order import ChatOrder, Limits
from services.inference.runs.registry import Limit, Owner, Run, RunEnded
from services.inference.runs.turn_rules import max_output_tokens
from services.rpc.call import Call, enter_call
from services.rpc.errors import DependencyUnavailable, error_info
from tests.inference.scripted import FullPurse, Gate, ScriptedEngine, ScriptedToolbox, calls, says, tool

OWNER = Owner("tenant-1", "user-1")
ALL_TOOLS = ToolSelection(all=True)
SUM = ToolCall("call-1", "calculator", '{"expression":"1+1"}')
CLOCK = ToolCall("call-2", "time_now", "{}")
TOOLS = (tool("calculator"), tool("time_now"))


@pytest.fixture(autouse=True)
def current_call() -> None:
    enter_call(Call("request-1", "/parley.inference.v1.InferenceService/Chat"))


def new_run(seconds: float = 60.0, reason: FinishReason = FinishReason.TIME_LIMIT) -> Run:
    return Run(
        "01ARZ3NDEKTSV4RRFFQ69G5FAV", OWNER, Limit(asyncio.get_running_loop().time() + seconds, reason)
    )


def order(text: str = "Hi", **fields: object) -> ChatOrder:
    return ChatOrder("scripted", (Message(Role.USER, text),), **fields)  # type: ignore[arg-type]


async def events_of(
    engine: ScriptedEngine, toolbox: ScriptedToolbox, asked: ChatOrder, run: Run | None = None
) -> list[RunEvent]:
    loop = AgentLoop(run or new_run(), asked, engine, toolbox, FullPurse())
    await loop.prepare()
    return [event async for event in loop.events()]


def last(events: list[RunEvent]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def usage(events: list[RunEvent]) -> RunUsage:
    assert isinstance(events[-2], RunUsage)
    return events[-2]


async def test_an_answer_without_tools() -> None:
    events = await events_of(ScriptedEngine(says("Hello, ", "you.")), ScriptedToolbox(), order())
    assert events == [
        Started("scripted", 10),
        ContentDelta("Hello, "),
        ContentDelta("you."),
        RunUsage(10, 3, 4, 0, 1),
        Finished(FinishReason.STOP, choices=(ChoiceEnd(0, FinishReason.STOP, 3),)),
    ]


async def test_calls_of_one_turn_run_together_and_are_answered_in_their_order() -> None:
    engine = ScriptedEngine(calls(SUM, CLOCK), says("It is 2."))
    toolbox = ScriptedToolbox(
        TOOLS,
        {
            "calculator": [CallProgress("call-1", 0.5, "adding"), '{"result":2}'],
            "time_now": ['{"time":"12:00:00"}'],
        },
    )
    events = await events_of(engine, toolbox, order(tools=ALL_TOOLS))
    assert toolbox.executed == [(SUM, CLOCK)]
    assert [event for event in events if isinstance(event, CallReady)] == [
        CallReady(SUM, 1),
        CallReady(CLOCK, 1),
    ]
    assert CallProgress("call-1", 0.5, "adding") in events
    said, *answers = engine.rendered[1].messages[1:]
    assert said == Message(Role.ASSISTANT, "", "I need a tool.", (SUM, CLOCK))
    assert [(answer.tool_call_id, answer.content) for answer in answers] == [
        ("call-1", '{"result":2}'),
        ("call-2", '{"time":"12:00:00"}'),
    ]
    assert last(events).reason is FinishReason.STOP


async def test_usage_adds_up_over_the_turns() -> None:
    engine = ScriptedEngine(calls(SUM), says("It is 2."))
    events = await events_of(engine, ScriptedToolbox(TOOLS), order(tools=ALL_TOOLS))
    assert usage(events) == RunUsage(10 + 30, 4 + 2, 4 + 4, 0, 2)


async def test_a_tool_that_was_not_offered_is_handed_back_to_the_model() -> None:
    stranger = ToolCall("call-9", "rm_rf", "{}")
    engine = ScriptedEngine(calls(stranger, SUM), says("Sorry."))
    toolbox = ScriptedToolbox(TOOLS)
    events = await events_of(engine, toolbox, order(tools=ALL_TOOLS))
    (refused,) = [event for event in events if isinstance(event, CallResult) and event.error]
    assert refused.call == stranger
    assert json.loads(refused.content)["error"]["reason"] == "TOOL_NOT_OFFERED"
    assert toolbox.executed == [(SUM,)]
    assert last(events).reason is FinishReason.STOP


async def test_only_strangers_leave_the_tools_service_alone() -> None:
    engine = ScriptedEngine(calls(ToolCall("call-9", "rm_rf", "{}")), says("Sorry."))
    toolbox = ScriptedToolbox(TOOLS)
    events = await events_of(engine, toolbox, order(tools=ALL_TOOLS))
    assert toolbox.executed == []
    assert last(events).reason is FinishReason.STOP


@pytest.mark.parametrize("rounds", [0, 1, 3])
async def test_rounds_are_limited(rounds: int) -> None:
    engine = ScriptedEngine(*[calls(SUM)] * 5)
    toolbox = ScriptedToolbox(TOOLS)
    events = await events_of(engine, toolbox, order(tools=ALL_TOOLS, limits=Limits(max_tool_rounds=rounds)))
    assert last(events).reason is FinishReason.ROUND_LIMIT
    assert len(toolbox.executed) == rounds


async def test_calls_are_limited_and_none_of_a_turn_too_many_runs() -> None:
    engine = ScriptedEngine(calls(SUM), calls(SUM, CLOCK))
    toolbox = ScriptedToolbox(TOOLS)
    events = await events_of(engine, toolbox, order(tools=ALL_TOOLS, limits=Limits(max_tool_calls=2)))
    assert last(events).reason is FinishReason.CALL_LIMIT
    assert toolbox.executed == [(SUM,)]


async def test_length_ends_the_run_and_runs_no_call() -> None:
    cut = [*calls(SUM)[:-1], TurnEnd(StopReason.LENGTH)]
    toolbox = ScriptedToolbox(TOOLS)
    events = await events_of(ScriptedEngine(cut), toolbox, order(tools=ALL_TOOLS))
    assert last(events).reason is FinishReason.LENGTH
    assert toolbox.executed == []


async def test_a_context_that_tool_results_fill_ends_as_length() -> None:
    engine = ScriptedEngine(calls(SUM))
    engine.prompt_tokens = lambda turn: 10 if len(turn.messages) == 1 else 1000
    events = await events_of(engine, ScriptedToolbox(TOOLS), order(tools=ALL_TOOLS))
    assert last(events).reason is FinishReason.LENGTH


async def test_an_unknown_tool_fails_before_the_run_starts() -> None:
    with pytest.raises(ToolNotOffered):
        await events_of(ScriptedEngine(), ScriptedToolbox(TOOLS), order(tools=ToolSelection(names=("x",))))


async def test_a_prompt_that_leaves_no_room_is_refused_with_its_numbers() -> None:
    engine = ScriptedEngine()
    engine.prompt_tokens = lambda turn: 990
    asked = order(sampling=Sampling(max_output_tokens=11))
    with pytest.raises(ContextOverflow) as refused:
        await events_of(engine, ScriptedToolbox(), asked)
    assert refused.value.metadata == {
        "prompt_tokens": "990",
        "max_output_tokens": "11",
        "context_length": "1000",
    }


async def test_later_turns_take_what_room_is_left() -> None:
    engine = ScriptedEngine(calls(SUM), says("2"))
    engine.prompt_tokens = lambda turn: 10 if len(turn.messages) == 1 else 995
    asked = order(tools=ALL_TOOLS, sampling=Sampling(max_output_tokens=100))
    events = await events_of(engine, ScriptedToolbox(TOOLS), asked)
    assert engine.budgets == [100, 5]
    assert last(events).reason is FinishReason.STOP


async def test_messages_that_cannot_be_rendered_fail_before_the_run_starts() -> None:
    engine = ScriptedEngine()
    engine.rendering = MessagesInvalid("no")
    with pytest.raises(MessagesInvalid):
        await events_of(engine, ScriptedToolbox(), order())


async def test_an_engine_that_fails_ends_the_run_with_a_typed_error_and_what_was_said() -> None:
    engine = ScriptedEngine([ContentDelta("Hel"), EngineFailed("scripted")])
    events = await events_of(engine, ScriptedToolbox(), order())
    assert ContentDelta("Hel") in events
    assert usage(events).completion_tokens == 1
    finished = last(events)
    assert finished.reason is FinishReason.ERROR
    assert finished.error is not None
    assert finished.error.code == code_pb2.UNAVAILABLE
    info = error_info(finished.error)
    assert info is not None
    assert info.reason == "ENGINE_FAILED"


async def test_a_turn_without_an_end_is_an_engine_failure() -> None:
    events = await events_of(ScriptedEngine([ContentDelta("Hel")]), ScriptedToolbox(), order())
    assert last(events).reason is FinishReason.ERROR


async def test_a_fault_of_ours_leaves_masked() -> None:
    events = await events_of(ScriptedEngine([RuntimeError("secret path")]), ScriptedToolbox(), order())
    error = last(events).error
    assert error is not None
    assert error.code == code_pb2.INTERNAL
    assert "secret" not in error.message
    assert "request-1" in error.message


async def test_tools_that_cannot_be_offered_are_told_at_the_start_and_the_run_goes_on() -> None:
    away = DependencyUnavailable("tools").to_status()
    toolbox = ScriptedToolbox(offer_error=Offer(error=away))
    events = await events_of(ScriptedEngine(says("Hi.")), toolbox, order(tools=ALL_TOOLS))
    assert events[0] == Started("scripted", 10, (), away)
    assert last(events).reason is FinishReason.STOP


async def test_time_over_before_the_start_is_told_to_the_caller() -> None:
    loop = AgentLoop(new_run(-1), order(), ScriptedEngine(), ScriptedToolbox(), FullPurse())
    with pytest.raises(RunEnded):
        await loop.prepare()


Phase = Callable[[Gate], tuple[ScriptedEngine, ScriptedToolbox]]


def in_generation(gate: Gate) -> tuple[ScriptedEngine, ScriptedToolbox]:
    return ScriptedEngine([ContentDelta("Hel"), gate, *says("lo")]), ScriptedToolbox(TOOLS)


def in_tools(gate: Gate) -> tuple[ScriptedEngine, ScriptedToolbox]:
    return ScriptedEngine(calls(SUM)), ScriptedToolbox(TOOLS, {"calculator": [gate]})


def in_second_turn(gate: Gate) -> tuple[ScriptedEngine, ScriptedToolbox]:
    return ScriptedEngine(calls(SUM), [gate]), ScriptedToolbox(TOOLS)


PHASES = [in_generation, in_tools, in_second_turn]


async def ended_while_waiting(
    phase: Phase, run: Run, end: Callable[[Run], Awaitable[None]]
) -> tuple[list[RunEvent], ScriptedEngine, ScriptedToolbox]:
    gate = Gate()
    engine, toolbox = phase(gate)
    running = asyncio.create_task(events_of(engine, toolbox, order(tools=ALL_TOOLS), run))
    reached = asyncio.create_task(gate.reached.wait())
    # On a busy machine a short time limit may strike before the gate.
    await asyncio.wait({reached, running}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    await end(run)
    return await asyncio.wait_for(running, 30), engine, toolbox


@pytest.mark.parametrize("phase", PHASES)
async def test_cancel_frees_the_engine_and_the_tools(phase: Phase) -> None:
    async def cancel(run: Run) -> None:
        run.end(FinishReason.CANCELLED)

    events, engine, toolbox = await ended_while_waiting(phase, new_run(), cancel)
    assert last(events).reason is FinishReason.CANCELLED
    assert (engine.running, toolbox.running) == (0, 0)
    assert usage(events).prompt_tokens >= 10


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("reason", [FinishReason.TIME_LIMIT, FinishReason.DEADLINE])
async def test_time_frees_the_engine_and_the_tools(phase: Phase, reason: FinishReason) -> None:
    async def wait(run: Run) -> None:
        del run

    events, engine, toolbox = await ended_while_waiting(phase, new_run(0.2, reason), wait)
    assert last(events).reason is reason
    assert (engine.running, toolbox.running) == (0, 0)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_reader_that_is_cancelled_frees_the_engine_and_the_tools(phase: Phase) -> None:
    gate = Gate()
    engine, toolbox = phase(gate)
    running = asyncio.create_task(events_of(engine, toolbox, order(tools=ALL_TOOLS)))
    await gate.reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (engine.running, toolbox.running) == (0, 0)


async def test_a_run_that_ends_while_its_reader_is_busy_frees_the_engine_at_once() -> None:
    engine, run = ScriptedEngine(says("one", "two", "three")), new_run()
    loop = AgentLoop(run, order(), engine, ScriptedToolbox(), FullPurse())
    await loop.prepare()
    events = loop.events()
    await anext(events)
    assert await anext(events) == ContentDelta("one")
    assert engine.running == 1
    run.end(FinishReason.CANCELLED)
    async with asyncio.timeout(5):
        while engine.running:  # noqa: ASYNC110 - nobody reads: only the engine knows
            await asyncio.sleep(0)
    cut_off = (ChoiceEnd(0, FinishReason.CANCELLED, 1),)
    assert [event async for event in events][-1] == Finished(FinishReason.CANCELLED, choices=cut_off)


async def test_a_reader_that_stops_reading_closes_the_engines_stream() -> None:
    engine = ScriptedEngine(says("one", "two"))
    loop = AgentLoop(new_run(), order(), engine, ScriptedToolbox(), FullPurse())
    await loop.prepare()
    events = loop.events()
    await anext(events)
    await anext(events)
    await events.aclose()
    assert engine.running == 0


@pytest.mark.parametrize(
    ("asked", "default", "room", "expected"),
    [(None, None, 90, 90), (None, 50, 90, 50), (20, 50, 90, 20), (200, None, 90, 90)],
)
def test_max_output_tokens(asked: int | None, default: int | None, room: int, expected: int) -> None:
    card = ModelCard("m", 100, max_output_tokens=default)
    assert max_output_tokens(Sampling(max_output_tokens=asked), card, room) == expected
