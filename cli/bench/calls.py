"""What tool calls cost through the edge: at once, in process, in the sandbox, and a thousand of them."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil

from cli.bench.figures import Figure
from cli.bench.identity import Door, front_door, milliseconds
from cli.bench.sandbox import bare
from cli.failures import CommandError, ExitCode
from parley.tools.v1 import execution_pb2, tool_service_pb2
from parley.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from parley_client.errors import from_status
from services.tools.sandbox.confinement import Interpreter

AT_ONCE = 16
WAIT_SECONDS = 0.2
ROUNDS = 5
CALL_SECONDS = 600.0
SETTLE_SECONDS = 1.0
Asked = tuple[str, Mapping[str, object]]
_NOTHING: Mapping[str, object] = {"code": "pass", "files": []}
MIXTURE: Sequence[Asked] = (
    ("time_now", {}),
    ("calculator", {"expression": "17 * 23"}),
    ("file_list", {}),
    ("python_run", _NOTHING),
)
"""What a thousand calls are: in process, in a worker, in a worker on files, in the sandbox; by turns."""


async def call_rows(scratch: Path, samples: int, calls: int) -> list[Figure]:
    """Start store, auth, tools and edge, and measure calls through all of them.

    Args:
        scratch: An empty folder.
        samples: Calls of each kind.
        calls: Calls at once.
    """
    temporary = scratch / "temporary"
    temporary.mkdir()
    async with waiting_server() as port:
        told = {
            **os.environ,
            "TMPDIR": str(temporary),
            "PARLEY_TOOLS_WEB_PORTS": json.dumps([port]),
            "PARLEY_TOOLS_WEB_OPEN_NETWORKS": json.dumps(["127.0.0.1/32"]),
        }
        async with front_door(scratch, told, tools=True) as door:
            url = f"http://127.0.0.1:{port}/"
            return [
                *await _independent(door, url),
                *await _one_by_one(door, samples),
                *await _many(door, calls, temporary),
            ]


async def _independent(door: Door, url: str) -> list[Figure]:
    """Calls that wait for a server, all at once, against the slowest of them; the median of some rounds."""
    ratios = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        results = await _all(door, [("api_request", {"url": url})] * AT_ONCE)
        taken = time.perf_counter() - began
        ratios.append(taken / max(result.duration.ToNanoseconds() / 1e9 for result in results))
    name = f"{AT_ONCE} calls of {1000 * WAIT_SECONDS:g} ms at once, times the slowest"
    return [Figure(name, statistics.median(ratios), "", 1.15)]


async def _one_by_one(door: Door, samples: int) -> list[Figure]:
    """Single calls, by turns: the machine drifts. Beside them the smallest call, and a program alone."""
    interpreter, small = Interpreter.own(), (await door.calls())["token"]
    metadata = await door.client.credentials.metadata()
    kinds: dict[str, Callable[[], Awaitable[object]]] = {
        **{tool: partial(_one, door, metadata, tool, arguments) for tool, arguments in MIXTURE},
        "a small call": small,
        "a program": partial(bare, interpreter),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(samples + 1):
        for kind, call in kinds.items():
            found = await milliseconds(call)
            taken[kind] += [found] if number else []  # The first of each loads what it needs.
    pairs = zip(taken["python_run"], taken["a program"], strict=True)
    return [
        Figure("a call of auth that looks nothing up, p50", statistics.median(taken["a small call"])),
        Figure("a safe tool in process, p50", statistics.median(taken["time_now"]), target=3),
        Figure("a safe tool in a worker, p50", statistics.median(taken["calculator"])),
        Figure(
            "a tool in the sandbox adds to its work, p50",
            statistics.median(call - work for call, work in pairs),
            target=45,
        ),
    ]


async def _one(
    door: Door, metadata: Sequence[tuple[str, str]], tool: str, arguments: Mapping[str, object]
) -> None:
    """One call on a stream of its own."""
    call = execution_pb2.ToolInvocation(call_id="1", tool=tool, arguments=json.dumps(dict(arguments)))
    request = tool_service_pb2.ExecuteRequest(call=call)
    stream = ToolServiceStub(door.channel).Execute(request, metadata=tuple(metadata), timeout=CALL_SECONDS)
    async for _ in stream:
        pass


async def _many(door: Door, calls: int, temporary: Path) -> list[Figure]:
    """All calls at once on one stream, and what they leave behind."""
    asked = [MIXTURE[number % len(MIXTURE)] for number in range(calls)]
    await _all(door, asked[: 4 * len(MIXTURE)])
    await asyncio.sleep(SETTLE_SECONDS)
    before = _held(door, temporary)
    seconds = await milliseconds(lambda: _all(door, asked)) / 1000
    left = await _left(door, temporary, before)
    return [
        Figure(f"{calls} calls at once, all of them", seconds, "s"),
        *(Figure(f"{what} that they left", number, "", 0) for what, number in left.items()),
    ]


async def _all(door: Door, asked: Sequence[Asked]) -> list[execution_pb2.ToolResult]:
    """The results of calls on one stream.

    Raises:
        CommandError: One did not end well.
    """

    async def requests() -> AsyncIterator[tool_service_pb2.ExecuteManyRequest]:
        for number, (tool, arguments) in enumerate(asked):
            call = execution_pb2.ToolInvocation(
                call_id=str(number), tool=tool, arguments=json.dumps(dict(arguments))
            )
            yield tool_service_pb2.ExecuteManyRequest(call=call)

    metadata = await door.client.credentials.metadata()
    stream = ToolServiceStub(door.channel).ExecuteMany(requests(), metadata=metadata, timeout=CALL_SECONDS)
    events = [answer.event async for answer in stream]
    for event in events:
        if event.HasField("error"):
            raise CommandError(f"A call failed: {from_status(event.error)}.", "", ExitCode.FAILED)
    return [event.result for event in events if event.HasField("result")]


async def _left(door: Door, temporary: Path, before: Mapping[str, int]) -> dict[str, int]:
    """How much more there is than before, once it becomes no less."""
    left = _more(door, temporary, before)
    while any(left.values()):
        await asyncio.sleep(SETTLE_SECONDS)
        last, left = left, _more(door, temporary, before)
        if left == last:
            break
    return left


def _more(door: Door, temporary: Path, before: Mapping[str, int]) -> dict[str, int]:
    return {what: max(0, number - before[what]) for what, number in _held(door, temporary).items()}


def _held(door: Door, temporary: Path) -> dict[str, int]:
    """What the tools service holds now. Sockets are gRPC's, which opens and closes them as it likes."""
    service = psutil.Process(door.pids["tools"])
    opened = [str(link.readlink()) for link in Path(f"/proc/{service.pid}/fd").iterdir() if link.is_symlink()]
    workspaces = door.home.folder("workspaces")
    half_made = [*workspaces.rglob(".new-*"), *workspaces.rglob(".run-*")]
    return {
        "processes": len(service.children(recursive=True)),
        "handles": sum(not name.startswith(("socket:", "anon_inode:[event")) for name in opened),
        "temporary files": len([*temporary.iterdir(), *half_made]),
    }


@asynccontextmanager
async def waiting_server() -> AsyncIterator[int]:
    """A server whose every answer takes `WAIT_SECONDS`; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(WAIT_SECONDS)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
