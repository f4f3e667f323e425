from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from services.rpc.errors import Overloaded
from services.tools.builtin.file import file_read
from services.tools.catalogue import Tool
from services.tools.errors import OutputTooLarge, PathNotAllowed, ToolFailed
from services.tools.events import Report
from services.tools.workers import Thrift, WorkerPool, WorkerUnusable
from services.tools.workspace import Owner, Workspaces
from tests.tools import sample_tools
from tests.tools.conftest import SECONDS

OWNER = Owner("tenant-1", "ada")


async def ignore(_what: Report) -> None:
    """A reporter that nobody listens to."""


async def run(
    pool: WorkerPool, tool: Tool, report: Callable[[Report], object] = ignore, **arguments: object
) -> str:
    async with pool.lend() as worker:
        return await worker.run(tool, pool.call(tool, tool.arguments(**arguments), OWNER), report)


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        async with asyncio.timeout(SECONDS):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_a_worker_is_used_again(pool: WorkerPool) -> None:
    first = json.loads(await run(pool, sample_tools.looking))["pid"]
    assert json.loads(await run(pool, sample_tools.looking))["pid"] == first
    assert pool.pids == {first}


async def test_calls_at_once_run_in_different_processes(pool: WorkerPool) -> None:
    async with pool.lend() as one, pool.lend() as other:
        assert one.pid != other.pid
    assert pool.pids == {one.pid, other.pid}


async def test_a_pool_can_start_before_its_first_call(pool: WorkerPool) -> None:
    await pool.start()
    pids = pool.pids
    assert len(pids) == 2
    await run(pool, sample_tools.echo)
    assert pool.pids == pids


async def test_more_calls_than_workers_wait(pool: WorkerPool) -> None:
    results = await asyncio.gather(*(run(pool, sample_tools.echo, text=str(n)) for n in range(10)))
    assert [json.loads(result)["text"] for result in results] == [str(n) for n in range(10)]
    assert len(pool.pids) <= 2


async def test_a_typed_error_crosses_the_pipe(pool: WorkerPool) -> None:
    with pytest.raises(ToolFailed, match="on fire"):
        await run(pool, sample_tools.failing)
    await run(pool, sample_tools.echo)
    assert len(pool.pids) == 1


async def test_an_error_that_any_service_gives_crosses_it_too(pool: WorkerPool) -> None:
    with pytest.raises(Overloaded, match="at it") as caught:
        await run(pool, sample_tools.crowded)
    assert caught.value.retry_after == timedelta(seconds=1)


async def test_a_fault_is_logged_in_full_and_told_without_details(pool: WorkerPool) -> None:
    with capture_logs() as logs, pytest.raises(ToolFailed) as caught:
        await run(pool, sample_tools.broken)
    assert "hunter2" not in caught.value.message
    assert "hunter2" in logs[0]["traceback"]


async def test_a_worker_that_dies_fails_its_call_alone(pool: WorkerPool) -> None:
    with pytest.raises(ToolFailed, match="its process died"):
        await run(pool, sample_tools.dying)
    assert json.loads(await run(pool, sample_tools.echo, text="on"))["text"] == "on"


async def test_an_idle_worker_that_was_killed_is_replaced(pool: WorkerPool) -> None:
    pid = json.loads(await run(pool, sample_tools.looking))["pid"]
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert json.loads(await run(pool, sample_tools.looking))["pid"] != pid


async def test_a_call_that_is_cut_off_takes_its_process_with_it(pool: WorkerPool) -> None:
    inside = asyncio.Event()
    pids = []

    async def report(what: Report) -> None:
        pids.append(int(what.text))
        inside.set()

    task = asyncio.create_task(run(pool, sample_tools.waiting, report))
    async with asyncio.timeout(SECONDS):
        await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pids[0])
    assert pool.pids == set()
    assert json.loads(await run(pool, sample_tools.echo, text="on"))["text"] == "on"


async def test_a_result_beyond_any_frame_is_refused(pool: WorkerPool) -> None:
    with pytest.raises(OutputTooLarge):
        await run(pool, sample_tools.bulky)
    assert pool.pids == set()


async def test_a_slow_reader_slows_the_tool_and_loses_nothing(pool: WorkerPool) -> None:
    heard: list[Report] = []

    async def report(what: Report) -> None:
        await asyncio.sleep(0)
        heard.append(what)

    await run(pool, sample_tools.stepping, report, steps=500)
    assert len(heard) == 1000


async def test_a_tool_sees_nothing_of_the_service(pool: WorkerPool) -> None:
    seen = json.loads(await run(pool, sample_tools.looking))
    # Python's own, and what keeps gRPC out of forks.
    assert set(seen["environment"]) <= {"LC_CTYPE", "GRPC_ENABLE_FORK_SUPPORT"}
    opened = [
        path for path in seen["descriptors"] if path not in ("/dev/null",) and not path.startswith("/proc")
    ]
    pipes = [path for path in opened if path.startswith(("pipe:", "socket:"))]
    assert len(pipes) <= 3  # calls in, frames out, standard error
    assert seen["pid"] != os.getpid()


async def test_a_tool_that_writes_to_standard_output_disturbs_nothing(pool: WorkerPool) -> None:
    assert json.loads(await run(pool, sample_tools.printing))["text"] == "b''"
    assert json.loads(await run(pool, sample_tools.echo, text="on"))["text"] == "on"


async def test_stopping_leaves_no_process(workspaces: Workspaces) -> None:
    pool = WorkerPool(workspaces, ["tests.tools.sample_tools"], 2)
    await pool.start()
    pids = pool.pids
    await pool.stop()
    for pid in pids:
        await gone(pid)
    assert pool.pids == set()


async def test_a_worker_that_has_grown_is_replaced_once_nobody_needs_it(workspaces: Workspaces) -> None:
    thrift = Thrift(kept_bytes=0, idle_seconds=0)
    pool = WorkerPool(workspaces, ["tests.tools.sample_tools"], 1, thrift)
    first = json.loads(await run(pool, sample_tools.looking))["pid"]
    await gone(first)
    assert json.loads(await run(pool, sample_tools.looking))["pid"] != first
    await pool.stop()
    assert pool.pids == set()


async def test_a_worker_that_has_grown_serves_whoever_comes_before(workspaces: Workspaces) -> None:
    thrift = Thrift(kept_bytes=0, idle_seconds=3600)
    pool = WorkerPool(workspaces, ["tests.tools.sample_tools"], 1, thrift)
    pids = {json.loads(await run(pool, sample_tools.looking))["pid"] for _ in range(3)}
    assert len(pids) == 1
    await pool.stop()
    await gone(pids.pop())


async def test_a_pool_that_stops_while_it_replaces_leaves_no_process(workspaces: Workspaces) -> None:
    pool = WorkerPool(workspaces, ["tests.tools.sample_tools"], 1, Thrift(kept_bytes=0, idle_seconds=0))
    pid = json.loads(await run(pool, sample_tools.looking))["pid"]
    await gone(pid)
    await pool.stop()
    assert pool.pids == set()


async def test_a_worker_that_cannot_start_is_said_in_one_line(workspaces: Workspaces) -> None:
    pool = WorkerPool(workspaces, ["no.such.module"], 1)
    with pytest.raises(WorkerUnusable, match="does not start"):
        await pool.start()
    await pool.stop()
    assert pool.pids == set()


async def test_errors_of_the_built_in_tools_cross_the_pipe(pool: WorkerPool) -> None:
    with pytest.raises(PathNotAllowed) as caught:
        await run(pool, file_read, file_path="../x")
    assert caught.value.metadata == {"path": "../x"}
