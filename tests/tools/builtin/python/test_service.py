"""`python_run` behind the service's real server."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import psutil
import pytest

from parley.tools.v1 import execution_pb2, tool_service_pb2
from services.tools.builtin.python.run import python_tools
from services.tools.sandbox.confinement import Bubblewrap, Interpreter
from services.tools.sandbox.sandbox import Sandbox
from services.tools.workspace import Workspaces
from tests.tools.conftest import Service, outcome
from tests.tools.test_workers import gone

PERMISSIONS = ("tools.execute", "tools.list", "tools.utility.*")


@pytest.fixture
async def service(serve: Callable[..., object], workspaces: Workspaces) -> AsyncIterator[Service]:
    sandbox = Sandbox(Bubblewrap(shutil.which("bwrap") or "", Interpreter.own()), 8)
    async with serve(python_tools(sandbox, workspaces)) as running:
        yield running


def invocation(code: str, call_id: str = "1", **more: str) -> execution_pb2.ToolInvocation:
    arguments = json.dumps({"code": code, "files": [], "timeout_seconds": 30})
    return execution_pb2.ToolInvocation(call_id=call_id, tool="python_run", arguments=arguments, **more)


async def run(service: Service, code: str, **more: str) -> list[execution_pb2.ToolEvent]:
    request = tool_service_pb2.ExecuteRequest(call=invocation(code, **more))
    async with service.stub() as stub:
        stream = stub.Execute(request, metadata=service.metadata(*PERMISSIONS))
        return [response.event async for response in stream]


def sandboxes() -> list[psutil.Process]:
    below = psutil.Process().children(recursive=True)
    return [each for each in below if each.name() == "bwrap" and each.status() != psutil.STATUS_ZOMBIE]


def handles() -> int:
    """Open pipes, files, folders and processes; gRPC opens and closes sockets as it likes."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(not str(link).startswith(("socket:", "anon_inode:[event", "/proc")) for link in links)


async def test_output_and_result_arrive(service: Service) -> None:
    events = await run(service, "print('hello')")
    assert [event.WhichOneof("event") for event in events] == ["started", "output", "result"]
    assert events[1].output.text == "hello\n"
    assert json.loads(events[2].result.content)["stdout"] == "hello\n"


async def test_a_conversation_has_its_own_files(service: Service, workspaces: Workspaces) -> None:
    await run(service, "open('a.txt', 'w').write('x')", conversation_id="talk-1")
    found = [path.relative_to(workspaces.root) for path in workspaces.root.rglob("a.txt")]
    assert [path.parts[2:] for path in found] == [("conversations", "talk-1", "a.txt")]


async def test_a_limit_arrives_as_a_typed_error(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(service, "while True: print('x' * 1000)")
    assert outcome(caught.value) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "PROGRAM_LIMIT_REACHED")
    assert json.loads((await run(service, "print(1)"))[-1].result.content)["stdout"] == "1\n"


async def test_a_caller_who_leaves_ends_the_program(service: Service) -> None:
    request = tool_service_pb2.ExecuteRequest(call=invocation("print(1, flush=True)\nwhile True: pass"))
    async with service.stub() as stub:
        stream = stub.Execute(request, metadata=service.metadata(*PERMISSIONS))
        async for response in stream:
            if response.event.HasField("output"):
                break
        running = sandboxes()
        stream.cancel()
    assert running
    for process in running:
        await gone(process.pid)
    assert sandboxes() == []


async def test_many_at_once_all_end_and_leave_nothing(service: Service) -> None:
    async def requests() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
        for number in range(24):
            call = invocation(f"print({number})", str(number))
            yield tool_service_pb2.ExecuteManyRequest(call=call)

    await run(service, "pass")
    before = handles()
    async with service.stub() as stub:
        stream = stub.ExecuteMany(requests(), metadata=service.metadata(*PERMISSIONS))
        events = [response.event async for response in stream]
    results = {event.call_id: event.result.content for event in events if event.HasField("result")}
    assert {call_id: json.loads(result)["stdout"] for call_id, result in results.items()} == {
        str(number): f"{number}\n" for number in range(24)
    }
    assert sandboxes() == []
    assert handles() == before
