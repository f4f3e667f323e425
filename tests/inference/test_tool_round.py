"""What becomes of the calls of a turn: run, approved, denied, answered by the client, handed back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
from google.rpc import code_pb2, status_pb2

from parley.tools.v1 import tool_pb2
from services.inference.calling.errors import ToolNameTaken, ToolNotOffered
from services.inference.calling.tool_calls import ToolSelection
from services.inference.calling.waiting_calls import Answer, ClientResult, Decision, Outcome
from services.inference.engine.turn import Message, Role, ToolCall, ToolSpec
from services.inference.reading.step import ContentDelta
from services.inference.runs.agent_loop import AgentLoop
from services.inference.runs.events import (
    ApprovalDecided,
    ApprovalNeeded,
    ApprovalOutcome,
    CallReady,
    CallResult,
    CallUpdate,
    Finished,
    FinishReason,
    RunEvent,
)
from services.inference.runs.order import ApprovalPolicy, Approvals, ClientTools, Limits
from services.inference.runs.registry import Run
from services.rpc.call import Call, current_call, enter_call
from services.rpc.errors import error_info
from tests.inference.runs.test_agent_loop import new_run, order
from tests.inference.scripted import FullPurse, Gate, ScriptedEngine, ScriptedToolbox, calls, says, tool

DANGEROUS = tool_pb2.SAFETY_LEVEL_DANGEROUS
TOOLS = (tool("calculator"), tool("python_run", DANGEROUS))
SUM = ToolCall("call-1", "calculator", "{}")
CODE = ToolCall("call-2", "python_run", '{"code":"1"}')
WEATHER = ToolCall("call-3", "weather", '{"city":"Rome"}')
CLIENTS = (ToolSpec("weather", "Tells the weather.", {"type": "object"}),)
WAITS = ClientTools(CLIENTS, waits=True)
ASK = Approvals(ApprovalPolicy.ASK)
GRANTED = ("tools.*",)


@pytest.fixture(autouse=True)
def call() -> None:
    enter_call(Call("request-1", "/parley.inference.v1.InferenceService/Chat"))


class Conducted:
    """A run whose events are answered from outside as a client would."""

    def __init__(self, engine: ScriptedEngine, toolbox: ScriptedToolbox | None = None, **fields: Any) -> None:
        self.engine = engine
        self.toolbox = toolbox or ScriptedToolbox(TOOLS, {"python_run": ['{"stdout":"1"}']})
        self.run: Run = new_run()
        asked = order(tools=ToolSelection(all=True), **fields)
        self.loop = AgentLoop(self.run, asked, engine, self.toolbox, FullPurse())
        self.events: list[RunEvent] = []

    async def play(self, react: Callable[[RunEvent], Answer | None] = lambda event: None) -> None:
        """Read to the end; what `react` gives is the answer to the call of the event."""
        await self.loop.prepare()
        async with asyncio.timeout(20):
            async for event in self.loop.events():
                self.events.append(event)
                answer = react(event)
                if answer is not None:
                    assert isinstance(event, CallReady | ApprovalNeeded)
                    delivery = self.run.waiting_calls.answer(event.call.id, answer, GRANTED)
                    assert delivery.outcome is Outcome.TAKEN

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def end(self) -> Finished:
        assert isinstance(self.events[-1], Finished)
        return self.events[-1]

    @property
    def errors(self) -> dict[str, str]:
        """Reasons of the calls that failed, by id."""
        infos = {event.call.id: error_info(event.error) for event in self.of(CallResult) if event.error}
        return {call_id: info.reason for call_id, info in infos.items() if info is not None}

    def answers(self, turn: int = 1) -> dict[str, str]:
        """What the model was given in a turn, by call."""
        messages = self.engine.rendered[turn].messages
        return {message.tool_call_id: message.content for message in messages if message.role is Role.TOOL}


def decides(*, approved: bool, note: str = "") -> Callable[[RunEvent], Answer | None]:
    return lambda event: Decision(approved, note) if isinstance(event, ApprovalNeeded) else None


def answers_with(result: ClientResult) -> Callable[[RunEvent], Answer | None]:
    return lambda event: result if isinstance(event, CallReady) and event.client_side else None


async def test_where_nobody_is_asked_a_dangerous_call_is_handed_back() -> None:
    played = Conducted(ScriptedEngine(calls(SUM, CODE), says("Done.")))
    await played.play()
    assert played.toolbox.executed == [(SUM,)]
    assert played.errors == {"call-2": "APPROVAL_REQUIRED"}
    assert json.loads(played.answers()["call-2"])["error"]["reason"] == "APPROVAL_REQUIRED"
    assert (played.of(ApprovalNeeded), played.end.reason) == ([], FinishReason.STOP)


async def test_a_level_that_is_not_known_counts_as_dangerous() -> None:
    toolbox = ScriptedToolbox((tool("python_run", tool_pb2.SafetyLevel.ValueType(99)),))
    played = Conducted(ScriptedEngine(calls(CODE), says("Done.")), toolbox)
    await played.play()
    assert (toolbox.executed, played.errors) == ([], {"call-2": "APPROVAL_REQUIRED"})


async def test_an_approved_call_runs_and_the_others_do_not_wait_for_it() -> None:
    played = Conducted(ScriptedEngine(calls(SUM, CODE), says("Done.")), approvals=ASK)

    def react(event: RunEvent) -> Answer | None:
        if isinstance(event, CallResult) and event.call == SUM:
            played.run.waiting_calls.answer("call-2", Decision(approved=True, note="Go on."), GRANTED)
        return None

    heard: list[Any] = []
    current_call().hear_part = lambda error, content, facts: heard.append((error, content, dict(facts)))
    await played.play(react)
    assert played.toolbox.executed == [(SUM,), (CODE,)]
    (needed,) = played.of(ApprovalNeeded)
    assert (needed.call, needed.round, needed.safety_level) == (CODE, 1, DANGEROUS)
    assert needed.permission == "tools.math.python_run"
    assert played.of(ApprovalDecided) == [ApprovalDecided("call-2", ApprovalOutcome.APPROVED, "Go on.")]
    assert played.answers() == {"call-1": "{}", "call-2": '{"stdout":"1"}'}
    facts = {"tool": "python_run", "call_id": "call-2", "approval": "approved"}
    assert heard == [(None, b'{"code":"1"}', facts)]


async def test_a_denied_call_does_not_run_and_the_model_reads_why() -> None:
    played = Conducted(ScriptedEngine(calls(CODE), says("Done.")), approvals=ASK)
    heard: list[str] = []
    current_call().hear_part = lambda error, content, facts: heard.append(type(error).__name__)
    await played.play(decides(approved=False, note="Not on a Friday."))
    assert heard == ["ApprovalDenied"]
    assert played.toolbox.executed == []
    assert played.errors == {"call-2": "APPROVAL_DENIED"}
    assert "Not on a Friday." in played.answers()["call-2"]
    assert played.end.reason is FinishReason.STOP


async def test_a_call_that_nobody_decides_about_lapses() -> None:
    asked = Approvals(ApprovalPolicy.ASK, seconds=0.02)
    played = Conducted(ScriptedEngine(calls(CODE), says("Done.")), approvals=asked)
    await played.play()
    assert played.toolbox.executed == []
    assert played.of(ApprovalDecided) == [ApprovalDecided("call-2", ApprovalOutcome.LAPSED)]
    assert played.errors == {"call-2": "APPROVAL_LAPSED"}


async def test_a_tool_that_the_caller_approved_before_runs_without_asking() -> None:
    before = Approvals(approved=frozenset({"python_run"}))
    played = Conducted(ScriptedEngine(calls(CODE), says("Done.")), approvals=before)
    await played.play()
    assert (played.toolbox.executed, played.of(ApprovalNeeded)) == ([(CODE,)], [])


async def test_what_is_approved_before_must_be_offered() -> None:
    before = Approvals(approved=frozenset({"rm_rf"}))
    with pytest.raises(ToolNotOffered):
        await Conducted(ScriptedEngine(), approvals=before).play()


async def test_a_call_that_cannot_run_is_not_asked_about() -> None:
    bad = ToolCall("call-2", "python_run", "print(1)")
    played = Conducted(ScriptedEngine(calls(bad), says("Done.")), approvals=ASK)
    await played.play()
    assert (played.of(ApprovalNeeded), played.errors) == ([], {"call-2": "TOOL_ARGUMENTS_REJECTED"})


async def test_the_run_waits_for_the_client_and_goes_on() -> None:
    played = Conducted(ScriptedEngine(calls(SUM, WEATHER), says("Sunny.")), client_tools=WAITS)
    await played.play(answers_with(ClientResult('{"sky":"blue"}')))
    ready = {event.call.id: event for event in played.of(CallReady)}
    assert (ready["call-1"].client_side, ready["call-1"].expires_at) == (False, None)
    assert ready["call-3"].client_side
    assert ready["call-3"].expires_at is not None
    assert played.toolbox.executed == [(SUM,)]
    assert played.answers() == {"call-1": "{}", "call-3": '{"sky":"blue"}'}
    assert played.end.reason is FinishReason.STOP


async def test_the_model_is_offered_the_clients_tools_beside_the_platforms() -> None:
    played = Conducted(ScriptedEngine(says("Hi.")), client_tools=WAITS)
    await played.play()
    names = [spec.name for spec in played.engine.rendered[0].tools]
    assert names == ["calculator", "python_run", "weather"]


async def test_a_client_that_fails_or_says_nothing_is_told_to_the_model() -> None:
    failing = Conducted(ScriptedEngine(calls(WEATHER), says("Hm.")), client_tools=WAITS)
    await failing.play(answers_with(ClientResult("The station is closed.", failed=True)))
    assert failing.errors == {"call-3": "CLIENT_TOOL_FAILED"}
    assert "The station is closed." in failing.answers()["call-3"]
    impatient = ClientTools(CLIENTS, waits=True, seconds=0.02)
    silent = Conducted(ScriptedEngine(calls(WEATHER), says("Hm.")), client_tools=impatient)
    await silent.play()
    assert silent.errors == {"call-3": "CLIENT_TOOL_TIMEOUT"}
    assert silent.end.reason is FinishReason.STOP


async def test_a_mixed_turn_ends_the_run_when_the_platforms_calls_are_done() -> None:
    played = Conducted(
        ScriptedEngine(calls(SUM, WEATHER, CODE)), client_tools=ClientTools(CLIENTS), approvals=ASK
    )
    await played.play(decides(approved=True))
    assert set(played.toolbox.executed) == {(SUM,), (CODE,)}
    assert {event.call.id for event in played.of(CallResult)} == {"call-1", "call-2"}
    assert played.end.reason is FinishReason.TOOL_CALLS
    # What a conversation could go on with: the client's call has no result yet.
    said, *answers = played.loop.said
    assert [call.id for call in said.tool_calls] == ["call-1", "call-2"]
    assert [answer.tool_call_id for answer in answers] == ["call-1", "call-2"]


async def test_bad_arguments_for_a_client_go_back_to_the_model_and_the_run_goes_on() -> None:
    bad = ToolCall("call-3", "weather", "Rome")
    played = Conducted(ScriptedEngine(calls(bad), says("Hm.")), client_tools=ClientTools(CLIENTS))
    await played.play()
    assert [event.client_side for event in played.of(CallReady)] == [False]
    assert played.errors == {"call-3": "TOOL_ARGUMENTS_REJECTED"}
    assert played.end.reason is FinishReason.STOP


async def test_a_clients_tool_may_not_have_the_name_of_another() -> None:
    taken = ClientTools((ToolSpec("calculator", "", {}),))
    with pytest.raises(ToolNameTaken) as refused:
        await Conducted(ScriptedEngine(), client_tools=taken).play()
    assert refused.value.metadata == {"tool": "calculator"}


def refused_arguments(made: ToolCall) -> CallResult:
    error = status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="expression is missing")
    return CallResult(made, "{}", error, 0.0)


async def test_arguments_are_corrected_so_often_and_no_more() -> None:
    engine = ScriptedEngine(*[calls(SUM)] * 5)
    toolbox = ScriptedToolbox(TOOLS, {"calculator": [refused_arguments(SUM)]})
    played = Conducted(engine, toolbox, limits=Limits(max_tool_corrections=2))
    await played.play()
    assert len(toolbox.executed) == 3
    assert played.end.reason is FinishReason.ERROR
    info = error_info(played.end.error)
    assert info is not None
    assert (info.reason, dict(info.metadata)) == ("TOOL_ARGUMENTS_REJECTED", {"tool": "calculator"})
    assert played.end.error.message == "expression is missing"


class Learning(ScriptedToolbox):
    """Refuses the arguments of every other call."""

    async def execute(
        self, calls: Sequence[ToolCall], conversation_id: str = ""
    ) -> AsyncGenerator[CallUpdate, None]:
        self.executed.append(tuple(calls))
        refuses = len(self.executed) % 2
        yield refused_arguments(calls[0]) if refuses else CallResult(calls[0], "{}", None, 0.0)


async def test_a_call_that_is_taken_begins_the_count_anew() -> None:
    toolbox = Learning(TOOLS)
    engine = ScriptedEngine(*[calls(SUM)] * 6, says("Done."))
    played = Conducted(engine, toolbox, limits=Limits(max_tool_corrections=1))
    await played.play()
    assert (len(toolbox.executed), played.end.reason) == (6, FinishReason.STOP)


async def test_results_are_cut_for_model_and_client_alike() -> None:
    toolbox = ScriptedToolbox(TOOLS, {"calculator": ["é" * 1000]})
    played = Conducted(
        ScriptedEngine(calls(SUM), says("Long.")), toolbox, limits=Limits(max_tool_result_bytes=256)
    )
    await played.play()
    (result,) = played.of(CallResult)
    assert result.content == played.answers()["call-1"]
    assert len(result.content.encode()) <= 256
    assert result.omitted_bytes == 2000 - len(result.content.partition("\n")[0].encode())


async def test_a_small_context_is_given_small_results() -> None:
    """Two bytes a token: the scripted model has 1,000 tokens of context."""
    played = Conducted(
        ScriptedEngine(calls(SUM), says("Long.")), ScriptedToolbox(TOOLS, {"calculator": ["x" * 9999]})
    )
    await played.play()
    (result,) = played.of(CallResult)
    assert 1900 < len(result.content) <= 2000


async def test_tokens_of_all_turns_together_are_limited() -> None:
    engine = ScriptedEngine(calls(SUM), says("It is two."))
    played = Conducted(engine, limits=Limits(max_output_tokens=6))
    await played.play()
    assert engine.budgets == [6, 2]
    assert played.end.reason is FinishReason.STOP


async def test_calls_for_which_no_token_is_left_do_not_run() -> None:
    played = Conducted(ScriptedEngine(calls(SUM)), limits=Limits(max_output_tokens=4))
    await played.play()
    assert (played.toolbox.executed, played.end.reason) == ([], FinishReason.TOKEN_LIMIT)


async def test_tools_find_the_workspace_of_the_conversation() -> None:
    played = Conducted(ScriptedEngine(calls(SUM, CODE), says("Done.")), approvals=ASK, conversation_id="c-1")
    await played.play(decides(approved=True))
    assert played.toolbox.conversations == ["c-1", "c-1"]


@pytest.mark.parametrize("fields", [{"approvals": ASK}, {"client_tools": WAITS}])
async def test_a_run_that_ends_while_it_waits_ends_its_tools(fields: dict[str, Any]) -> None:
    gate = Gate()
    made = CODE if "approvals" in fields else WEATHER
    toolbox = ScriptedToolbox(TOOLS, {"calculator": [gate]})
    played = Conducted(ScriptedEngine(calls(SUM, made)), toolbox, **fields)
    playing = asyncio.create_task(played.play())
    await asyncio.wait_for(gate.reached.wait(), 20)
    played.run.end(FinishReason.CANCELLED)
    await asyncio.wait_for(playing, 20)
    assert (played.end.reason, toolbox.running) == (FinishReason.CANCELLED, 0)


async def test_what_an_ended_run_said_is_well_formed() -> None:
    """The second call had no result yet."""
    gate = Gate()
    toolbox = ScriptedToolbox((*TOOLS, tool("slow")), {"calculator": ["2"], "slow": [gate]})
    slow = ToolCall("call-9", "slow", "{}")
    played = Conducted(ScriptedEngine([ContentDelta("Let me see."), *calls(SUM, slow)]), toolbox)
    playing = asyncio.create_task(played.play())
    await asyncio.wait_for(gate.reached.wait(), 20)
    played.run.end(FinishReason.CANCELLED)
    await asyncio.wait_for(playing, 20)
    assert played.loop.said == (
        Message(Role.ASSISTANT, "Let me see.", "I need a tool.", (SUM,)),
        Message(Role.TOOL, "2", tool_call_id="call-1"),
    )


async def test_half_a_sentence_is_kept_and_silence_is_not() -> None:
    gate = Gate()
    for script, expected in (
        ([ContentDelta("Once upon"), gate], (Message(Role.ASSISTANT, "Once upon"),)),
        ([gate], ()),
    ):
        gate.reached.clear()
        played = Conducted(ScriptedEngine(script))
        playing = asyncio.create_task(played.play())
        await asyncio.wait_for(gate.reached.wait(), 20)
        played.run.end(FinishReason.CANCELLED)
        await asyncio.wait_for(playing, 20)
        assert played.loop.said == expected
