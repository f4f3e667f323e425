"""The service over real mTLS gRPC, with a scripted engine and a scripted tools service."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2

from parley.inference.v1 import chat_pb2, inference_service_pb2, message_pb2, model_pb2
from services.inference.engine.turn import ToolCall
from services.inference.reading.step import ContentDelta
from services.rpc.errors import error_info, status_of
from tests.conftest import TokenMaker
from tests.inference.replicas import Replica
from tests.inference.scripted import Gate, ScriptedEngine, calls, says
from tests.inference.scripted_tools import ToolsProcess

PERMISSIONS = ("inference.chat", "inference.models", "models.*", "tools.list", "tools.execute")
SUM = ToolCall("call-1", "calculator", '{"expression":"17 * 23"}')


@pytest.fixture
def metadata(tokens: TokenMaker) -> Any:
    return tokens.metadata(*PERMISSIONS)


def message(text: str, role: message_pb2.Role = message_pb2.ROLE_USER) -> message_pb2.Message:
    return message_pb2.Message(role=role, content=[message_pb2.ContentPart(text=text)])


def chat(text: str = "Hi", **fields: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(messages=[message(text)], **fields)


def with_tools(**fields: Any) -> chat_pb2.ChatRequest:
    return chat(server_tools=chat_pb2.ServerTools(all=True), **fields)


async def read(call: Any) -> list[chat_pb2.ChatEvent]:
    """What is left of a stream. By `read`, as grpc.aio lets no stream be read in two ways."""
    events = []
    while (response := await call.read()) is not grpc.aio.EOF:
        events.append(response.event)
    return events


def kinds(events: list[chat_pb2.ChatEvent]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


def reason(events: list[chat_pb2.ChatEvent]) -> str:
    return chat_pb2.FinishReason.Name(events[-1].finished.reason).removeprefix("FINISH_REASON_")


def refusal(error: grpc.RpcError) -> tuple[str, dict[str, str]]:
    info = error_info(status_of(error))
    assert info is not None
    return info.reason, dict(info.metadata)


async def wait_until_free(engine: ScriptedEngine, runs: Any) -> None:
    async with asyncio.timeout(5):
        while engine.running or len(runs):  # noqa: ASYNC110 - nobody else is told
            await asyncio.sleep(0)


async def test_chat_with_a_tool_is_a_numbered_stream(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(SUM), says("It is ", "391."))
    async with replica(engine) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert kinds(events) == [
        "started",
        "reasoning_delta",
        "tool_call_delta",
        "tool_call_delta",
        "usage",
        "tool_call",
        "tool_progress",
        "tool_result",
        "content_delta",
        "content_delta",
        "usage",
        "finished",
    ]
    assert len(events[0].started.run_id) == 26
    assert list(events[0].started.tools) == ["broken", "calculator", "danger", "slow"]
    assert events[7].tool_result.content == '{"result":391}'
    assert reason(events) == "STOP"


async def test_failed_tool_is_told_to_client_and_model(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine(calls(ToolCall("call-1", "broken", "{}")), says("It failed."))
    async with replica(engine) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    (result,) = [event.tool_result for event in events if event.WhichOneof("event") == "tool_result"]
    assert result.error.message == "It broke."
    assert '"message":"It broke."' in engine.rendered[1].messages[-1].content
    assert reason(events) == "STOP"


async def test_tools_service_that_goes_away_fails_calls_and_the_chat_goes_on(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    engine = ScriptedEngine(says("Warm."), calls(SUM), says("The tools are away."))
    async with replica(engine) as process:
        await read(process.stub.Chat(with_tools(), metadata=metadata))
        await tools_process.server.stop()
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    (result,) = [event.tool_result for event in events if event.WhichOneof("event") == "tool_result"]
    info = error_info(result.error)
    assert info is not None
    assert (info.reason, dict(info.metadata)) == ("DEPENDENCY_UNAVAILABLE", {"service": "tools"})
    assert '"reason":"TOOLS_UNAVAILABLE"' in result.content
    assert reason(events) == "STOP"


async def test_tools_service_that_was_never_there_is_told_at_the_start(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    await tools_process.server.stop()
    async with replica(ScriptedEngine(says("No tools here."))) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    assert error_info(events[0].started.tools_error) is not None
    assert list(events[0].started.tools) == []
    assert reason(events) == "STOP"


async def test_tools_stream_that_breaks_off_fails_its_calls(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    tools_process.service.breaks_off = True
    async with replica(ScriptedEngine(calls(SUM), says("Hm."))) as process:
        events = await read(process.stub.Chat(with_tools(), metadata=metadata))
    assert "tool_result" in kinds(events)
    assert reason(events) == "STOP"


@pytest.mark.parametrize(
    ("request_fields", "expected", "code"),
    [
        ({"model": "nobody"}, "MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND),
        ({"model": "another"}, "MODEL_NOT_READY", grpc.StatusCode.UNAVAILABLE),
        (
            {"server_tools": chat_pb2.ServerTools(names=["rm_rf"])},
            "TOOL_NOT_OFFERED",
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            {"sampling": chat_pb2.SamplingOptions(max_output_tokens=1000)},
            "CONTEXT_OVERFLOW",
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            {"sampling": chat_pb2.SamplingOptions(temperature=3)},
            "INVALID_REQUEST",
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_what_cannot_start_is_refused_with_its_reason(
    replica: Replica, metadata: Any, request_fields: Any, expected: str, code: grpc.StatusCode
) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(**request_fields), metadata=metadata))
        assert len(process.runs) == 0
    assert refusal(refused.value)[0] == expected
    assert refused.value.code() is code


async def test_unknown_model_names_those_that_exist(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(model="nobody"), metadata=metadata))
    assert refusal(refused.value)[1] == {"model": "nobody", "available": "another,scripted"}


async def test_messages_out_of_order_are_refused(replica: Replica, metadata: Any) -> None:
    request = chat_pb2.ChatRequest(messages=[message("Hi", message_pb2.ROLE_ASSISTANT)])
    async with replica(ScriptedEngine()) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(request, metadata=metadata))
    assert refusal(refused.value)[0] == "MESSAGES_INVALID"


async def test_cancel_ends_the_stream_with_its_reason(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([ContentDelta("Hel"), gate])
    async with replica(engine) as process:
        call = process.stub.Chat(chat(), metadata=metadata)
        started = (await call.read()).event.started
        await gate.reached.wait()
        cancel = inference_service_pb2.CancelRequest(run_id=started.run_id)
        await process.stub.Cancel(cancel, metadata=metadata)
        events = await read(call)
        assert (engine.running, len(process.runs)) == (0, 0)
    assert kinds(events) == ["content_delta", "usage", "finished"]
    assert reason(events) == "CANCELLED"


async def test_cancel_reaches_the_replica_that_has_the_run(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([gate])
    async with replica(engine) as here, replica(ScriptedEngine()) as elsewhere:
        call = here.stub.Chat(chat(), metadata=metadata)
        started = (await call.read()).event.started
        await gate.reached.wait()
        cancel = inference_service_pb2.CancelRequest(run_id=started.run_id)
        await elsewhere.stub.Cancel(cancel, metadata=metadata)
        assert reason(await read(call)) == "CANCELLED"
    assert engine.running == 0


@pytest.mark.parametrize(
    "whose", [{"user_id": "user-2"}, {"tenant_id": "tenant-2"}], ids=["another user", "another tenant"]
)
async def test_only_its_owner_can_cancel_a_run(
    replica: Replica, metadata: Any, tokens: TokenMaker, whose: dict[str, str]
) -> None:
    gate = Gate()
    stranger = tokens.metadata(*PERMISSIONS, **whose)
    async with replica(ScriptedEngine([gate, *says("Done.")])) as process:
        call = process.stub.Chat(chat(), metadata=metadata)
        started = (await call.read()).event.started
        await gate.reached.wait()
        cancel = inference_service_pb2.CancelRequest(run_id=started.run_id)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await process.stub.Cancel(cancel, metadata=stranger)
        gate.open.set()
        assert reason(await read(call)) == "STOP"
    assert refusal(refused.value) == ("RUN_NOT_FOUND", {"run_id": started.run_id})


async def test_client_that_vanishes_frees_the_engine(replica: Replica, metadata: Any) -> None:
    gate = Gate()
    engine = ScriptedEngine([gate])
    async with replica(engine) as process:
        call = process.stub.Chat(chat(), metadata=metadata)
        await call.read()
        await gate.reached.wait()
        call.cancel()
        await wait_until_free(engine, process.runs)
        assert engine.running == 0


async def test_client_that_vanishes_ends_the_tools(
    replica: Replica, metadata: Any, tools_process: ToolsProcess
) -> None:
    engine = ScriptedEngine(calls(ToolCall("call-1", "slow", "{}")))
    async with replica(engine) as process:
        call = process.stub.Chat(with_tools(), metadata=metadata)
        await asyncio.wait_for(tools_process.service.started.wait(), 5)
        call.cancel()
        await asyncio.wait_for(tools_process.service.ended.wait(), 5)
        assert tools_process.service.running == 0
        await wait_until_free(engine, process.runs)


async def test_client_that_stops_reading_cannot_hold_the_engine(replica: Replica, metadata: Any) -> None:
    """Its run is ended while the stream is blocked by flow control."""
    text = "x" * 100_000
    endless = itertools.chain([ContentDelta(text)] * 200, says("Done."))
    engine = ScriptedEngine(list(endless))
    async with replica(engine) as process:
        call = process.stub.Chat(chat(), metadata=metadata)
        started = (await call.read()).event.started
        await call.read()
        cancel = inference_service_pb2.CancelRequest(run_id=started.run_id)
        await process.stub.Cancel(cancel, metadata=metadata)
        async with asyncio.timeout(5):
            while engine.running:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
        call.cancel()
        await wait_until_free(engine, process.runs)
        assert engine.running == 0


async def test_stream_ends_before_the_deadline_with_its_reason(replica: Replica, metadata: Any) -> None:
    engine = ScriptedEngine([ContentDelta("Hel"), Gate()])
    async with replica(engine) as process:
        events = await read(process.stub.Chat(chat(), metadata=metadata, timeout=5.0))
    assert reason(events) == "DEADLINE"
    assert engine.running == 0


async def test_time_limit_ends_the_stream(replica: Replica, metadata: Any) -> None:
    limits = chat_pb2.RunLimits(max_duration=duration_pb2.Duration(nanos=50_000_000))
    async with replica(ScriptedEngine([Gate()])) as process:
        events = await read(process.stub.Chat(chat(limits=limits), metadata=metadata))
    assert reason(events) == "TIME_LIMIT"


async def test_time_that_is_over_before_the_start_is_a_status(replica: Replica, metadata: Any) -> None:
    limits = chat_pb2.RunLimits(max_duration=duration_pb2.Duration(nanos=50_000_000))
    engine = ScriptedEngine()
    engine.rendering = Gate()
    async with replica(engine) as process:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await read(process.stub.Chat(chat(limits=limits), metadata=metadata))
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_model_needs_its_permission(replica: Replica, tokens: TokenMaker) -> None:
    some = tokens.metadata("inference.chat", "inference.models", "models.another")
    async with replica(ScriptedEngine()) as process:
        listed = await process.stub.ListModels(inference_service_pb2.ListModelsRequest(), metadata=some)
        told = []
        for model in ("scripted", "", "no-such", "another"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await read(process.stub.Chat(chat(model=model), metadata=some))
            told.append(refusal(refused.value)[0])
    assert [model.name for model in listed.models] == ["another"]
    assert told == ["PERMISSION_MISSING", "PERMISSION_MISSING", "MODEL_NOT_FOUND", "MODEL_NOT_READY"]


async def test_models_are_listed_page_by_page(replica: Replica, metadata: Any) -> None:
    async with replica(ScriptedEngine()) as process:
        request = inference_service_pb2.ListModelsRequest(page_size=1)
        first = await process.stub.ListModels(request, metadata=metadata)
        request.page_token = first.next_page_token
        second = await process.stub.ListModels(request, metadata=metadata)
    assert [model.name for model in (*first.models, *second.models)] == ["another", "scripted"]
    assert first.models[0].state == model_pb2.MODEL_STATE_LOADING
    assert second.models[0].state == model_pb2.MODEL_STATE_READY
    assert second.models[0].is_default
    assert second.models[0].context_length == 1000
    assert second.next_page_token == ""
