"""Runs that wait: approvals and client tools over real mTLS gRPC, answered at any replica."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2

from parley.inference.v1 import answer_pb2, chat_pb2, inference_service_pb2
from services.inference.engine.turn import Role, ToolCall
from services.rpc.errors import error_info
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess
from tests.inference.test_servicer import (
    PERMISSIONS,
    chat,
    kinds,
    message,
    read,
    reason,
    refusal,
    wait_until_free,
    with_tools,
)

RIGHTS = (*PERMISSIONS, "tools.test.*")
DANGER = ToolCall("call-1", "danger", "{}")
WEATHER = ToolCall("call-2", "weather", '{"city":"Rome"}')
SUM = ToolCall("call-3", "calculator", "{}")
APPROVE, DENY = answer_pb2.APPROVAL_VERDICT_APPROVE, answer_pb2.APPROVAL_VERDICT_DENY
NOBODYS_RUN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*RIGHTS)


def asking() -> chat_pb2.ChatRequest:
    """A chat whose dangerous calls are asked about."""
    return with_tools(approvals={"policy": chat_pb2.APPROVAL_POLICY_ASK}, conversation_id="c-1")


def bringing(mode: chat_pb2.ClientToolMode = chat_pb2.CLIENT_TOOL_MODE_WAIT) -> chat_pb2.ChatRequest:
    """A chat that brings a tool."""
    weather = {"name": "weather", "description": "Tells the weather.", "parameters_schema": "{}"}
    return with_tools(client_tools={"tools": [weather], "mode": mode})


async def until(call: Any, kind: str) -> tuple[str, chat_pb2.ChatEvent]:
    """Read up to the first event of a kind; gives it with the run's id."""
    run_id = ""
    async with asyncio.timeout(20):
        while True:
            event = (await call.read()).event
            run_id = event.started.run_id or run_id
            if event.WhichOneof("event") == kind:
                return run_id, event


def decision(run_id: str, verdict: int, call_id: str = "call-1") -> Any:
    return inference_service_pb2.DecideApprovalRequest(
        run_id=run_id, decision={"call_id": call_id, "verdict": verdict, "note": "Go on."}
    )


def result(run_id: str, call_id: str = "call-2", **outcome: str) -> Any:
    return inference_service_pb2.SubmitToolResultRequest(
        run_id=run_id, result={"call_id": call_id, **(outcome or {"content": '{"sky":"blue"}'})}
    )


async def refused(answer: Any) -> tuple[str, dict[str, str]]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer
    return refusal(caught.value)


async def test_a_chat_that_asks_nobody_denies(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine(calls(DANGER), says("I may not."))) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    (ended,) = [event.tool_result for event in events if event.HasField("tool_result")]
    info = error_info(ended.error)
    assert info is not None
    assert (info.reason, dict(info.metadata)) == ("APPROVAL_REQUIRED", {"tool": "danger"})
    assert "approval_needed" not in kinds(events)


async def test_a_call_is_approved_at_another_replica(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    engine = ScriptedEngine(calls(DANGER), says("Done."))
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        call = here.stub.Chat(asking(), metadata=metadata)
        run_id, needed = await until(call, "approval_needed")
        assert tools_process.service.calls == []
        await elsewhere.stub.DecideApproval(decision(run_id, APPROVE), metadata=metadata)
        events = await read(call)
    assert needed.approval_needed.call.name == "danger"
    assert needed.approval_needed.permission == "tools.test.danger"
    assert needed.approval_needed.HasField("expire_time")
    assert kinds(events)[:3] == ["approval_decided", "tool_progress", "tool_result"]
    assert events[0].approval_decided.outcome == chat_pb2.APPROVAL_OUTCOME_APPROVED
    assert events[0].approval_decided.note == "Go on."
    assert [made.conversation_id for made in tools_process.service.calls] == ["c-1"]
    assert reason(events) == "STOP"


async def test_a_call_is_denied(replica: Replica, metadata: Any, tools_process: ToolsProcess) -> None:
    async with replica(ScriptedEngine(calls(DANGER), says("I may not."))) as process:
        call = process.stub.Chat(asking(), metadata=metadata)
        run_id, _ = await until(call, "approval_needed")
        await process.stub.DecideApproval(decision(run_id, DENY), metadata=metadata)
        events = await read(call)
    assert kinds(events)[:2] == ["approval_decided", "tool_result"]
    assert tools_process.service.calls == []
    assert reason(events) == "STOP"


async def test_a_decision_stands(replica: Replica, metadata: Any) -> None:
    """The same again changes nothing; another comes too late."""
    engine = ScriptedEngine(calls(DANGER, ToolCall("call-9", "slow", "{}")))
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        call = here.stub.Chat(asking(), metadata=metadata)
        run_id, _ = await until(call, "approval_needed")
        for process in (here, elsewhere, here):
            await process.stub.DecideApproval(decision(run_id, DENY), metadata=metadata)
        for process in (here, elsewhere):
            late = await refused(process.stub.DecideApproval(decision(run_id, APPROVE), metadata=metadata))
            assert late == ("CALL_NOT_WAITING", {"run_id": run_id, "call_id": "call-1"})
        call.cancel()
        await wait_until_free(engine, here.runs)


@pytest.mark.parametrize(
    "whose", [{"user_id": "user-2"}, {"tenant_id": "tenant-2"}], ids=["another user", "another tenant"]
)
async def test_nobody_approves_or_answers_for_another(
    replica: Replica, tokens: TokenMaker, metadata: Any, whose: dict[str, str]
) -> None:
    stranger = tokens.metadata(*RIGHTS, **whose)
    narrow = tokens.metadata("inference.chat")
    engine = ScriptedEngine(calls(DANGER), says("Done."))
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        call = here.stub.Chat(asking(), metadata=metadata)
        run_id, _ = await until(call, "approval_needed")
        for process in (here, elsewhere):
            yes = decision(run_id, APPROVE)
            by_stranger = await refused(process.stub.DecideApproval(yes, metadata=stranger))
            assert by_stranger == ("RUN_NOT_FOUND", {"run_id": run_id})
            answered = await refused(process.stub.SubmitToolResult(result(run_id), metadata=stranger))
            assert answered == ("RUN_NOT_FOUND", {"run_id": run_id})
            by_narrow_key = await refused(process.stub.DecideApproval(yes, metadata=narrow))
            assert by_narrow_key == ("PERMISSION_MISSING", {"permission": "tools.test.danger"})
        await elsewhere.stub.DecideApproval(decision(run_id, DENY), metadata=narrow)
        assert reason(await read(call)) == "STOP"


async def test_a_result_of_a_client_comes_by_another_replica(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(WEATHER), says("Blue."))
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        call = here.stub.Chat(bringing(), metadata=metadata)
        run_id, ready = await until(call, "tool_call")
        large = result(run_id, content="x" * 2**20)
        await elsewhere.stub.SubmitToolResult(large, metadata=metadata)
        events = await read(call)
    assert ready.tool_call.client_side
    assert ready.tool_call.HasField("expire_time")
    assert events[0].tool_result.content.startswith("xxx")
    assert events[0].tool_result.omitted_bytes > 2**20 - 2048
    assert reason(events) == "STOP"


async def test_a_failure_of_a_client_is_told_to_the_model(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(WEATHER), says("Hm."))
    async with replica(engine) as process:
        call = process.stub.Chat(bringing(), metadata=metadata)
        run_id, _ = await until(call, "tool_call")
        await process.stub.SubmitToolResult(result(run_id, error="No signal."), metadata=metadata)
        events = await read(call)
    assert events[0].tool_result.error.message == "No signal."
    assert '"reason":"CLIENT_TOOL_FAILED"' in engine.rendered[1].messages[-1].content


async def test_answers_to_what_does_not_wait_are_refused(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(WEATHER))
    async with replica(engine) as process:
        call = process.stub.Chat(bringing(), metadata=metadata)
        run_id, _ = await until(call, "tool_call")
        submit, decide = process.stub.SubmitToolResult, process.stub.DecideApproval
        unknown = await refused(submit(result(run_id, "call-8"), metadata=metadata))
        wrong_kind = await refused(decide(decision(run_id, APPROVE, "call-2"), metadata=metadata))
        no_run = await refused(submit(result(NOBODYS_RUN), metadata=metadata))
        too_long = await refused(submit(result(run_id, content="é" * 2**20), metadata=metadata))
        call.cancel()
        await wait_until_free(engine, process.runs)
    assert unknown == ("CALL_NOT_WAITING", {"run_id": run_id, "call_id": "call-8"})
    assert wrong_kind == ("CALL_NOT_WAITING", {"run_id": run_id, "call_id": "call-2"})
    assert no_run == ("RUN_NOT_FOUND", {"run_id": NOBODYS_RUN})
    assert too_long[0] == "INVALID_REQUEST"


async def test_a_mixed_turn_ends_the_run_and_the_client_asks_again(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM, WEATHER), says("391, and blue."))
    request = bringing(chat_pb2.CLIENT_TOOL_MODE_UNSPECIFIED)
    async with replica(engine) as process:
        events = await read(process.stub.Chat(request, metadata=metadata))
        sides = {e.tool_call.call.id: e.tool_call.client_side for e in events if e.HasField("tool_call")}
        made = [event.tool_call.call for event in events if event.HasField("tool_call")]
        (platforms,) = [event.tool_result for event in events if event.HasField("tool_result")]
        request.messages.add(role="ROLE_ASSISTANT", tool_calls=made)
        request.messages.add(role="ROLE_TOOL", tool_call_id="call-3", content=[{"text": platforms.content}])
        request.messages.add(role="ROLE_TOOL", tool_call_id="call-2", content=[{"text": "blue"}])
        again = await read(process.stub.Chat(request, metadata=metadata))
    assert sides == {"call-3": False, "call-2": True}
    assert (reason(events), reason(again)) == ("TOOL_CALLS", "STOP")
    told = [each.content for each in engine.rendered[1].messages if each.role is Role.TOOL]
    assert told == ['{"result":391}', "blue"]


async def test_a_client_that_leaves_while_it_is_asked_ends_the_run(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(DANGER))
    async with replica(engine) as process:
        call = process.stub.Chat(asking(), metadata=metadata)
        run_id, _ = await until(call, "approval_needed")
        call.cancel()
        await wait_until_free(engine, process.runs)
        late = await refused(process.stub.DecideApproval(decision(run_id, APPROVE), metadata=metadata))
    assert late == ("RUN_NOT_FOUND", {"run_id": run_id})


async def test_time_passes_while_a_run_waits(replica: Replica, metadata: Any) -> None:
    request = asking()
    request.limits.max_duration.CopyFrom(duration_pb2.Duration(nanos=300_000_000))
    async with replica(ScriptedEngine(calls(DANGER))) as process:
        events = await read(process.stub.Chat(request, metadata=metadata))
    assert kinds(events)[-3:] == ["approval_needed", "usage", "finished"]
    assert reason(events) == "TIME_LIMIT"


TOOL = {"name": "weather", "parameters_schema": "{}"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"client_tools": {"tools": []}}, "INVALID_REQUEST"),
        ({"client_tools": {"tools": [TOOL, TOOL]}}, "INVALID_REQUEST"),
        (
            {"client_tools": {"tools": [{**TOOL, "name": f"tool{n}"} for n in range(129)]}},
            "INVALID_REQUEST",
        ),
        ({"client_tools": {"tools": [{"name": "a b"}]}}, "INVALID_REQUEST"),
        ({"client_tools": {"tools": [{**TOOL, "parameters_schema": "x" * 16385}]}}, "INVALID_REQUEST"),
        ({"client_tools": {"tools": [TOOL], "timeout": {"seconds": 3601}}}, "INVALID_REQUEST"),
        ({"client_tools": {"tools": [TOOL], "timeout": {}}}, "INVALID_REQUEST"),
        ({"client_tools": {"tools": [{**TOOL, "parameters_schema": "[]"}]}}, "CLIENT_TOOL_INVALID"),
        (
            {"client_tools": {"tools": [{"name": "calculator"}]}, "server_tools": {"all": True}},
            "TOOL_NAME_TAKEN",
        ),
        ({"approvals": {"approved_tools": ["nobody"]}, "server_tools": {"all": True}}, "TOOL_NOT_OFFERED"),
        ({"approvals": {"timeout": {"seconds": 3601}}}, "INVALID_REQUEST"),
        ({"conversation_id": "x" * 129}, "INVALID_REQUEST"),
        ({"limits": {"max_tool_result_bytes": 255}}, "INVALID_REQUEST"),
        ({"limits": {"max_tool_corrections": 17}}, "INVALID_REQUEST"),
        ({"limits": {"max_output_tokens": 0}}, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_asked_for(
    replica: Replica, metadata: Any, fields: dict[str, Any], expected: str
) -> None:
    request = chat_pb2.ChatRequest(messages=[message("Hi")], **fields)
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(process.stub.Chat(request, metadata=metadata))
    assert refusal(caught.value)[0] == expected


async def test_at_the_bounds_a_chat_begins(replica: Replica, metadata: Any) -> None:
    tools = [{**TOOL, "name": f"tool{n}"} for n in range(128)]
    request = chat(
        client_tools={"tools": tools, "timeout": {"seconds": 3600}},
        approvals={"timeout": {"seconds": 3600}},
        conversation_id="x" * 128,
        limits={"max_tool_result_bytes": 256, "max_tool_corrections": 16, "max_output_tokens": 1},
    )
    async with replica(ScriptedEngine(says())) as process:
        assert reason(await read(process.stub.Chat(request, metadata=metadata))) == "STOP"
