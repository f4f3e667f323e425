"""The process itself: starts, says when it is ready, stops, and says in a line why it cannot start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parley.tools.v1 import tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from services.rpc.channel import RotatingChannel, open_channel
from services.rpc.tls import TlsFiles
from tests.tools.conftest import SECONDS, outcome
from tests.tools.test_workers import gone

SERVICE = "parley.tools.v1.ToolService"
TEMPLATE = Path(__file__).parents[2] / "deploy" / "embedded" / "workspace"
START_SECONDS = 60.0


@pytest.fixture
def environment(tmp_path: Path, identity: Callable[[str], TlsFiles], unused_tcp_port: int) -> dict[str, str]:
    """A good environment for the process."""
    files = identity("tools")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return inherited | {
        "PARLEY_TOOLS_LISTEN_ADDRESS": f"127.0.0.1:{unused_tcp_port}",
        "PARLEY_TOOLS_TLS_CERTIFICATE_PATH": str(files.certificate),
        "PARLEY_TOOLS_TLS_PRIVATE_KEY_PATH": str(files.private_key),
        "PARLEY_TOOLS_TLS_AUTHORITY_PATH": str(files.authority),
        "PARLEY_TOOLS_AUTH_ADDRESS": "127.0.0.1:1",
        "PARLEY_TOOLS_INFERENCE_ADDRESS": "127.0.0.1:1",
        "PARLEY_TOOLS_INFERENCE_POOLS": '{"other": "127.0.0.1:1"}',
        "PARLEY_TOOLS_WORKSPACE_PATH": str(tmp_path / "workspaces"),
        "PARLEY_TOOLS_WORKSPACE_TEMPLATE_PATH": str(TEMPLATE),
        "PARLEY_TOOLS_WORKERS": "1",
        "PARLEY_TOOLS_DRAIN_SECONDS": "0",
    }


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[Process]:
    """The process, ended afterwards if it has not ended by itself."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.tools", env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def failed(environment: dict[str, str]) -> tuple[int, str]:
    """The exit code and the last words of a process that cannot start."""
    async with running(environment) as process, asyncio.timeout(START_SECONDS):
        _, errors = await process.communicate()
        lines = [line for line in errors.decode().splitlines() if not line.startswith("{")]
        return process.returncode or 0, "\n".join(lines)


def channel(environment: dict[str, str], identity: Callable[[str], TlsFiles], peer: str) -> RotatingChannel:
    return open_channel(
        environment["PARLEY_TOOLS_LISTEN_ADDRESS"],
        tls=identity(peer),
        service="tools",
        trust_domain="parley.local",
    )


async def until_serving(stub: health_pb2_grpc.HealthStub) -> list[int]:
    """Watch the process's health until it serves; what it said on the way."""
    said = []
    async with asyncio.timeout(START_SECONDS):
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), wait_for_ready=True)
        async for answer in watch:
            said.append(answer.status)
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                watch.cancel()
                return said
    return said


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def fence_of(pid: int) -> dict[str, list[str]]:
    """What a worker was told that it may reach."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    fence: dict[str, list[str]] = json.loads(words[words.index("services.tools.worker") + 1])
    return fence


async def test_it_serves_once_it_is_ready_and_leaves_nothing_behind(
    environment: dict[str, str], identity: Callable[[str], TlsFiles]
) -> None:
    async with running(environment) as process:
        async with channel(environment, identity, "edge") as opened:
            said = await until_serving(health_pb2_grpc.HealthStub(opened))
            assert said[-1] == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ToolServiceStub(opened).ListTools(tool_service_pb2.ListToolsRequest(), timeout=SECONDS)
            assert outcome(caught.value) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        workers = children(process.pid)
        assert [fence_of(pid)["changed"] for pid in workers] == [[environment["PARLEY_TOOLS_WORKSPACE_PATH"]]]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await process.wait()
        assert process.returncode == 0
        assert process.stderr is not None
        # gRPC's handlers of a fork would run in each child, and now and then end it.
        assert b"fork" not in await process.stderr.read()
    for pid in workers:
        await gone(pid)


async def test_a_kill_takes_the_workers_and_the_programs_with_it(
    environment: dict[str, str], identity: Callable[[str], TlsFiles]
) -> None:
    programs = {
        "PARLEY_TOOLS_MCP_COMMANDS": '{"sleeper": {"argv": ["/bin/sleep", "600"]}}',
        "PARLEY_TOOLS_MCP_SERVERS": '{"sleeper": {"command": "sleeper"}}',
    }
    async with running(environment | programs) as process:
        async with channel(environment, identity, "edge") as opened:
            await until_serving(health_pb2_grpc.HealthStub(opened))
        started = children(process.pid)
        process.kill()
        await process.wait()
    for pid in started:
        await gone(pid)
    assert len(started) == 2  # a worker, and the MCP program, which never answers


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"WORKSPACE_PATH": "/proc/nope"}, 1, "cannot keep workspaces in /proc/nope"),
        ({"WORKSPACE_TEMPLATE_PATH": "/nope"}, 1, "the workspace template /nope is no folder"),
        ({"TLS_CERTIFICATE_PATH": "/nope.pem"}, 1, "/nope.pem"),
        ({"WORKERS": "0"}, 2, "PARLEY_TOOLS_WORKERS"),
        ({"MCP_SERVERS": '{"a": {"command": "b"}}'}, 2, "a names a command that mcp_commands does not have"),
        ({"MCP_COMMANDS": '{"a": {"argv": ["sh"]}}'}, 2, "not named by an absolute path"),
        ({"WORKER": "3"}, 2, "PARLEY_TOOLS_WORKER is not a setting; did you mean PARLEY_TOOLS_WORKERS?"),
    ],
)
async def test_what_stops_it_from_starting_is_said_in_one_line(
    environment: dict[str, str], change: dict[str, str], code: int, told: str
) -> None:
    changed = environment | {f"PARLEY_TOOLS_{name}": value for name, value in change.items()}
    exit_code, errors = await failed(changed)
    assert exit_code == code
    assert told in errors
    assert len(errors.splitlines()) == 1


async def test_a_port_in_use_is_said_in_one_line(environment: dict[str, str]) -> None:
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        exit_code, errors = await failed(environment | {"PARLEY_TOOLS_LISTEN_ADDRESS": f"127.0.0.1:{port}"})
    assert exit_code == 1
    last = errors.splitlines()[-1]  # gRPC's own library writes a line of its own before
    assert last == f"tools cannot start: cannot listen on 127.0.0.1:{port}: is the port in use?"
