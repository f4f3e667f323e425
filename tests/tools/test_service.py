"""The real server over mTLS, with a real client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from parley.tools.v1 import error_reason_pb2, execution_pb2, tool_pb2, tool_service_pb2
from services.rpc.errors import error_info, status_of
from tests.tools import sample_tools
from tests.tools.conftest import SECONDS, Gate, Service, call_message, cancel_request, outcome, run_request

ALL = ("tools.list", "tools.execute", "tools.*")


async def execute(
    service: Service,
    name: str,
    arguments: object = None,
    permissions: tuple[str, ...] = ALL,
    **options: object,
) -> list[execution_pb2.ToolEvent]:
    """The events of one call."""
    request = tool_service_pb2.ExecuteRequest(call=call_message("1", name, json.dumps(arguments or {})))
    async with service.stub() as stub:
        stream = stub.Execute(request, metadata=service.metadata(*permissions), timeout=SECONDS, **options)
        return [response.event async for response in stream]


def result(events: list[execution_pb2.ToolEvent]) -> object:
    return json.loads(events[-1].result.content)


async def test_a_call_is_started_and_gives_a_result(service: Service) -> None:
    events = await execute(service, "calculator", {"expression": "17 * 23"})
    assert [event.WhichOneof("event") for event in events] == ["started", "result"]
    assert [event.sequence for event in events] == [1, 2]
    assert events[0].started.tool == "calculator"
    assert events[1].result.content == '{"expression":"17 * 23","result":391}'
    assert events[1].result.duration.ToNanoseconds() > 0


async def test_every_built_in_tool_answers(service: Service) -> None:
    calls = {
        "calculator": {"expression": "sqrt(16)"},
        "statistics": {"data": [1, 2, 3], "operations": ["mean"]},
        "time_now": {"timezone": "Seoul"},
        "file_read": {"file_path": "welcome.txt"},
        "file_list": {},
    }
    answers = {name: result(await execute(service, name, arguments)) for name, arguments in calls.items()}
    assert answers["calculator"] == {"expression": "sqrt(16)", "result": 4.0}
    assert answers["statistics"] == {"mean": 2}
    assert answers["time_now"]["timezone"] == "Asia/Seoul"
    assert answers["file_read"]["content"] == "Welcome!\n"
    assert [entry["name"] for entry in answers["file_list"]["entries"]] == ["notes", "welcome.txt"]


async def test_progress_and_output_come_as_they_happen(service: Service) -> None:
    events = await execute(service, "stepping", {"steps": 2})
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "progress", "output", "progress", "output", "result"]
    assert events[3].progress.fraction == 0.5
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "arguments", "code", "reason"),
    [
        ("calculatr", {}, grpc.StatusCode.NOT_FOUND, "TOOL_NOT_FOUND"),
        ("calculator", {}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENTS"),
        ("calculator", {"expression": "1 / 0"}, grpc.StatusCode.INVALID_ARGUMENT, "EXPRESSION_INVALID"),
        ("time_now", {"timezone": "Soul"}, grpc.StatusCode.INVALID_ARGUMENT, "TIMEZONE_UNKNOWN"),
        ("file_read", {"file_path": "nope"}, grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND"),
        ("file_read", {"file_path": "/etc/passwd"}, grpc.StatusCode.PERMISSION_DENIED, "PATH_NOT_ALLOWED"),
        ("failing", {}, grpc.StatusCode.FAILED_PRECONDITION, "TOOL_FAILED"),
        ("hanging", {}, grpc.StatusCode.DEADLINE_EXCEEDED, "TOOL_TIMEOUT"),
        ("flooding", {}, grpc.StatusCode.RESOURCE_EXHAUSTED, "OUTPUT_TOO_LARGE"),
    ],
)
async def test_a_call_that_fails_ends_with_its_own_status(
    service: Service, name: str, arguments: object, code: grpc.StatusCode, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, name, arguments)
    assert outcome(caught.value) == (code, reason)


async def test_a_fault_of_a_tool_is_not_told_to_the_caller(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, "broken")
    assert outcome(caught.value) == (grpc.StatusCode.FAILED_PRECONDITION, "TOOL_FAILED")
    assert "hunter2" not in caught.value.details()


async def test_each_tool_needs_its_own_permission(service: Service) -> None:
    allowed = ("tools.execute", "tools.math.calculator")
    events = await execute(service, "calculator", {"expression": "1"}, allowed)
    assert result(events) == {"expression": "1", "result": 1}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, "statistics", {"data": [1]}, allowed)
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_the_methods_need_theirs_too(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, "calculator", {"expression": "1"}, ("tools.math.calculator",))
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_a_peer_that_may_not_call_is_refused(service: Service) -> None:
    async with service.stub("auth") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListTools(
                tool_service_pb2.ListToolsRequest(), metadata=service.metadata(*ALL), timeout=SECONDS
            )
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PEER_NOT_ALLOWED")


async def get_tool(service: Service, name: str, *permissions: str) -> tool_service_pb2.GetToolResponse:
    async with service.stub() as stub:
        return await stub.GetTool(
            tool_service_pb2.GetToolRequest(name=name),
            metadata=service.metadata(*permissions),
            timeout=SECONDS,
        )


async def test_one_tool_is_described(service: Service) -> None:
    described = (await get_tool(service, "calculator", "tools.list", "tools.math.*")).tool
    assert described.permission == "tools.math.calculator"
    assert not described.unavailable
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get_tool(service, "calculatr", "tools.list", "tools.math.*")
    assert outcome(caught.value) == (grpc.StatusCode.NOT_FOUND, "TOOL_NOT_FOUND")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get_tool(service, "calculator", "tools.list")
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def list_tools(
    service: Service, *permissions: str, **query: object
) -> tool_service_pb2.ListToolsResponse:
    async with service.stub() as stub:
        return await stub.ListTools(
            tool_service_pb2.ListToolsRequest(**query),
            metadata=service.metadata(*permissions),
            timeout=SECONDS,
        )


async def test_the_list_holds_what_the_caller_may_use(service: Service) -> None:
    listed = await list_tools(service, "tools.list", "tools.math.*", "tools.file.file_read")
    assert [entry.name for entry in listed.tools] == ["calculator", "file_read", "statistics"]
    assert listed.next_page_token == ""
    only = await list_tools(service, "tools.list", "tools.*", category=tool_pb2.CATEGORY_FILE)
    assert [entry.name for entry in only.tools] == ["file_list", "file_read"]
    assert not (await list_tools(service, "tools.list")).tools


async def test_the_list_comes_in_pages(service: Service) -> None:
    names: list[str] = []
    token = ""
    while True:
        page = await list_tools(service, "tools.list", "tools.*", page_size=4, page_token=token)
        assert len(page.tools) <= 4
        names += [entry.name for entry in page.tools]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(names)
    assert len(names) == 17
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await list_tools(service, "tools.list", "tools.*", page_token="x")
    assert outcome(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


async def test_many_calls_run_on_one_stream(service: Service) -> None:
    async def requests() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
        for number in range(20):
            yield run_request(f"{number}", "calculator", json.dumps({"expression": f"{number} + 1"}))
        yield run_request("bad", "calculator", "not JSON")

    results: dict[str, object] = {}
    async with service.stub() as stub:
        stream = stub.ExecuteMany(requests(), metadata=service.metadata(*ALL), timeout=SECONDS)
        async for response in stream:
            event = response.event
            if event.WhichOneof("event") in ("result", "error"):
                results[event.call_id] = event
    assert len(results) == 21
    assert error_info(results.pop("bad").error).reason == "INVALID_ARGUMENTS"
    for number, event in results.items():
        assert json.loads(event.result.content)["result"] == int(number) + 1


async def test_cancelling_one_call_disturbs_no_other(serve: Callable[..., object]) -> None:
    gate = Gate()
    async with serve([gate.tool]) as service, service.stub() as stub:
        stream = stub.ExecuteMany(metadata=service.metadata(*ALL), timeout=SECONDS)
        await stream.write(run_request("a", "gate", '{"name": "a"}'))
        await stream.write(run_request("b", "gate", '{"name": "b"}'))
        await gate.wait_for_inside(2)
        await stream.write(cancel_request("a"))
        last = await last_of(stream, "a")
        assert error_info(last.error).reason == "CANCELLED"
        gate.open.set()
        await stream.done_writing()
        assert json.loads((await last_of(stream, "b")).result.content) == {"name": "b"}
        assert await stream.read() is grpc.aio.EOF
    assert gate.cancelled == ["a"]


async def last_of(stream: grpc.aio.StreamStreamCall[object, object], call_id: str) -> execution_pb2.ToolEvent:
    """Read up to the last event of a call."""
    while True:
        event = (await stream.read()).event
        if event.call_id == call_id and event.WhichOneof("event") in ("result", "error"):
            return event


async def test_closing_the_stream_ends_every_call(serve: Callable[..., object]) -> None:
    gate = Gate()
    async with serve([gate.tool]) as service, service.stub() as stub:
        stream = stub.ExecuteMany(metadata=service.metadata(*ALL), timeout=SECONDS)
        for name in "abc":
            await stream.write(run_request(name, "gate", json.dumps({"name": name})))
        await gate.wait_for_inside(3)
        stream.cancel()
        await gate.wait_for_nobody()
    assert sorted(gate.cancelled) == ["a", "b", "c"]


async def read_to_the_end(stream: grpc.aio.StreamStreamCall[object, object]) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_the_stream_s_deadline_ends_every_call(serve: Callable[..., object]) -> None:
    gate = Gate()
    async with serve([gate.tool]) as service, service.stub() as stub:
        stream = stub.ExecuteMany(metadata=service.metadata(*ALL), timeout=3)
        await stream.write(run_request("a", "gate"))
        await gate.wait_for_inside(1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_the_end(stream)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await gate.wait_for_nobody()
    assert gate.cancelled == [""]


async def test_an_invalid_message_ends_the_stream_and_its_calls(serve: Callable[..., object]) -> None:
    gate = Gate()
    async with serve([gate.tool]) as service, service.stub() as stub:
        stream = stub.ExecuteMany(metadata=service.metadata(*ALL), timeout=SECONDS)
        await stream.write(run_request("a", "gate"))
        await gate.wait_for_inside(1)
        await stream.write(run_request("", "gate"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_to_the_end(stream)
        assert outcome(caught.value) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        await gate.wait_for_nobody()
    assert gate.cancelled == [""]


async def test_what_the_caller_sees_is_what_the_contract_promises(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await execute(service, "hanging")
    info = error_info(status_of(caught.value))
    assert info.domain == "tools.parley"
    assert dict(info.metadata) == {"tool": "hanging", "timeout_seconds": "0.2"}
    assert f"ERROR_REASON_{info.reason}" in error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name


async def test_figures_are_told_and_begin_anew(service: Service) -> None:
    await execute(service, "calculator", {"expression": "1"})
    with pytest.raises(grpc.aio.AioRpcError):
        await execute(service, "calculator", {"expression": "1 +"})
    may = service.metadata("tools.stats.read", "tools.stats.write")
    async with service.stub() as stub:
        stats = await stub.GetStats(tool_service_pb2.GetStatsRequest(), metadata=may, timeout=SECONDS)
        [entry] = [entry for entry in stats.tools if entry.tool == "calculator"]
        assert entry.stats.calls == 2
        assert [(error.reason, error.calls) for error in entry.stats.errors] == [("EXPRESSION_INVALID", 1)]
        assert entry.stats.run_p50.ToNanoseconds() > 0
        assert entry.stats.HasField("queued_p95")
        assert [caller.stats.calls for caller in stats.callers] == [2]
        assert (stats.queue.running, stats.queue.waiting) == (0, 0)
        reset = await stub.ResetStats(tool_service_pb2.ResetStatsRequest(), metadata=may, timeout=SECONDS)
        again = await stub.GetStats(tool_service_pb2.GetStatsRequest(), metadata=may, timeout=SECONDS)
        assert not again.tools
        assert again.since == reset.since


@pytest.mark.parametrize("method", ["GetStats", "ResetStats"])
async def test_figures_need_their_permissions(service: Service, method: str) -> None:
    request = getattr(tool_service_pb2, f"{method}Request")()
    others = service.metadata("tools.list", "tools.execute", "tools.math.*")
    async with service.stub() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(stub, method)(request, metadata=others, timeout=SECONDS)
    assert outcome(caught.value) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")


async def test_edges_keys_and_cancelling_all_travel(serve: Callable[..., object]) -> None:
    gate = Gate()
    async with serve([gate.tool, *sample_tools.TOOLS]) as service, service.stub() as stub:
        stream = stub.ExecuteMany(metadata=service.metadata(*ALL), timeout=SECONDS)
        await stream.write(run_request("a", "gate"))
        second = call_message("b", "echo")
        second.after.append("a")
        await stream.write(tool_service_pb2.ExecuteManyRequest(call=second))
        await gate.wait_for_inside(1)
        everything = tool_service_pb2.ExecuteManyRequest(cancel_all=tool_service_pb2.CancelAll())
        await stream.write(everything)
        for call_id in "ab":
            assert error_info((await last_of(stream, call_id)).error).reason == "CANCELLED"
        for call_id in "cd":
            keyed = call_message(call_id, "echo", '{"text": "x"}')
            keyed.idempotency_key = "k"
            await stream.write(tool_service_pb2.ExecuteManyRequest(call=keyed))
            assert (await last_of(stream, call_id)).result.replayed == (call_id == "d")
        await stream.done_writing()
