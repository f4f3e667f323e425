"""Conversations on one stream, over real mTLS gRPC."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from parley.inference.v1 import inference_service_pb2
from services.inference.converse_stream import MAX_WAITING_TURNS
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.talk import Talk
from tests.inference.test_answers import APPROVE, DANGER, DENY, RIGHTS, WEATHER, decision, result
from tests.inference.test_servicer import message, wait_until_free

SUM = ToolCall("call-3", "calculator", "{}")


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*RIGHTS)


def told(engine: ScriptedEngine, turn: int) -> list[tuple[str, str]]:
    """What the engine was given in a turn: who, and what."""
    return [(each.role.value, each.content) for each in engine.rendered[turn].messages]


async def test_each_turn_is_a_run_that_knows_what_was_said(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM), says("It is 391."), says("You are ", "welcome."))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up(messages=[message("Hello"), message("Hi.", 3)])
        await talk.say("What is 17 * 23?")
        first = await talk.next()
        assert await talk.finish() == "STOP"
        await talk.say("Thanks.")
        second = await talk.next()
        assert await talk.finish() == "STOP"
        assert await talk.hang_up() is grpc.aio.EOF
        await wait_until_free(engine, process.runs)
    assert (first.message_number, second.message_number) == (2, 3)
    assert (first.event.sequence, second.event.sequence) == (1, 1)
    assert first.event.started.run_id != second.event.started.run_id
    assert told(engine, 2) == [
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "What is 17 * 23?"),
        ("assistant", ""),
        ("tool", '{"result":391}'),
        ("assistant", "It is 391."),
        ("user", "Thanks."),
    ]


async def test_dangerous_calls_are_asked_about_and_decided_on_the_stream(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    engine = ScriptedEngine(calls(DANGER), says("Done."), calls(DANGER), says("I may not."))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up(conversation_id="c-1")
        for verdict in (APPROVE, DENY):
            await talk.say("Do it.")
            await talk.until("approval_needed")
            await talk.send(decision={"call_id": "call-1", "verdict": verdict})
            assert (await talk.until("approval_decided")).approval_decided.outcome == verdict
            assert await talk.finish() == "STOP"
        talk.call.cancel()
    assert [call.conversation_id for call in tools_process.service.calls] == ["c-1"]


async def test_who_lacks_the_tools_permission_cannot_approve_on_the_stream(
    replica: Replica, tokens: TokenMaker, tools_process: ToolsProcess
) -> None:
    narrow = tokens.metadata("inference.chat", "models.*", "tools.list", "tools.execute")
    async with replica(ScriptedEngine(calls(DANGER))) as process:
        talk = Talk(process.stub, narrow)
        await talk.set_up()
        await talk.say("Do it.")
        await talk.until("approval_needed")
        await talk.send(decision={"call_id": "call-1", "verdict": APPROVE})
        assert await talk.refused() == (3, "PERMISSION_MISSING")
        talk.call.cancel()
    assert tools_process.service.calls == []


async def test_runs_of_a_stream_take_unary_answers_too(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(DANGER, WEATHER), says("Done."))
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        talk = Talk(here.stub, metadata)
        await talk.set_up(client_tools={"tools": [{"name": "weather"}]})
        await talk.say("Do it.")
        run_id = (await talk.until("started")).started.run_id
        await talk.until("approval_needed")
        await elsewhere.stub.DecideApproval(decision(run_id, APPROVE), metadata=metadata)
        await elsewhere.stub.SubmitToolResult(result(run_id), metadata=metadata)
        assert await talk.finish() == "STOP"
        talk.call.cancel()


async def test_a_client_answers_its_tools_on_the_stream(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM, WEATHER), says("Blue."))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up(client_tools={"tools": [{"name": "weather"}]})
        await talk.say("How is the weather?")
        while not (await talk.until("tool_call")).tool_call.client_side:
            pass
        await talk.send(tool_result={"call_id": "call-2", "content": "blue"})
        assert await talk.finish() == "STOP"
        talk.call.cancel()
    assert told(engine, 1)[-2:] == [("tool", '{"result":391}'), ("tool", "blue")]


async def test_answers_that_nobody_waits_for_are_refused_and_the_stream_goes_on(
    replica: Replica, metadata: Any
) -> None:
    async with replica(ScriptedEngine(calls(WEATHER), says("Blue."))) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up(client_tools={"tools": [{"name": "weather"}]})
        await talk.send(tool_result={"call_id": "call-2", "content": "early"})
        assert await talk.refused() == (2, "CALL_NOT_WAITING")
        await talk.say("How is the weather?")
        await talk.until("tool_call")
        await talk.send(decision={"call_id": "call-2", "verdict": APPROVE})
        assert await talk.refused() == (4, "CALL_NOT_WAITING")
        await talk.set_up()
        assert await talk.refused() == (5, "INVALID_REQUEST")
        await talk.send(tool_result={"call_id": "call-2", "error": "No signal."})
        assert await talk.finish() == "STOP"
        talk.call.cancel()


async def test_an_interrupt_ends_the_run_and_what_it_said_is_kept(replica: Replica, metadata: Any) -> None:
    gate, silent = Gate(), Gate()
    engine = ScriptedEngine([ContentDelta("Once upon"), gate], [silent], says("Short."))
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Tell me a story.")
        await gate.reached.wait()
        await talk.send(interrupt={})
        assert await talk.finish() == "CANCELLED"
        await talk.say("Another?")
        await silent.reached.wait()
        await talk.send(interrupt={})
        assert await talk.finish() == "CANCELLED"
        await talk.say("Be short.")
        assert await talk.finish() == "STOP"
        assert await talk.hang_up() is grpc.aio.EOF
    # The second question was never answered, so it is left out.
    assert told(engine, 2) == [
        ("user", "Tell me a story."),
        ("assistant", "Once upon"),
        ("user", "Be short."),
    ]


async def test_an_interrupt_that_means_another_run_changes_nothing(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    async with replica(ScriptedEngine([gate, *says("Done.")])) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.send(interrupt={})
        await talk.say("Hello")
        await gate.reached.wait()
        await talk.send(interrupt={"run_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"})
        await talk.set_up()  # its refusal shows that the interrupt was read
        while True:
            response = await talk.next()
            if response.HasField("refusal"):
                break
        gate.open.set()
        assert await talk.finish() == "STOP"
        talk.call.cancel()


async def test_cancel_ends_a_run_of_a_stream_and_not_the_stream(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    async with replica(ScriptedEngine([gate], says("Again."))) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("Hello")
        run_id = (await talk.until("started")).started.run_id
        await gate.reached.wait()
        cancel = inference_service_pb2.CancelRequest(run_id=run_id)
        await process.stub.Cancel(cancel, metadata=metadata)
        assert await talk.finish() == "CANCELLED"
        await talk.say("Hello?")
        assert await talk.finish() == "STOP"
        talk.call.cancel()


async def test_turns_wait_for_the_run_that_is_under_way(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([gate, *says("one")])
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("first")
        await gate.reached.wait()
        await talk.say(*[f"waiting {n}" for n in range(MAX_WAITING_TURNS)], "too much")
        await talk.until("started")
        assert await talk.refused() == (MAX_WAITING_TURNS + 3, "TURN_QUEUE_FULL")
        gate.open.set()
        for _ in range(MAX_WAITING_TURNS + 1):
            assert await talk.finish() == "STOP"
        assert await talk.hang_up() is grpc.aio.EOF
    assert told(engine, MAX_WAITING_TURNS)[-1] == ("user", f"waiting {MAX_WAITING_TURNS - 1}")


async def test_half_closing_lets_what_was_asked_be_answered(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    async with replica(ScriptedEngine([gate, *says("one")], says("two"))) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("first", "second")
        await talk.call.done_writing()
        await gate.reached.wait()
        gate.open.set()
        assert [await talk.finish(), await talk.finish()] == ["STOP", "STOP"]
        assert await talk.next() is grpc.aio.EOF
        assert await talk.call.code() is grpc.StatusCode.OK


async def test_a_turn_that_cannot_begin_is_refused_and_not_kept(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(says("Fine."))
    engine.prompt_tokens = lambda turn: 2000 if "long" in turn.messages[-1].content else 10
    async with replica(engine) as process:
        talk = Talk(process.stub, metadata)
        await talk.set_up()
        await talk.say("a long story", "short")
        assert await talk.refused() == (2, "CONTEXT_OVERFLOW")
        assert await talk.finish() == "STOP"
        talk.call.cancel()
    assert told(engine, -1) == [("user", "short")]
