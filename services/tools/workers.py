"""A pool of worker processes for tools that block or compute.

A call has a worker for itself. A worker whose call ended in order is used
again; one whose call was cut off (time-out, cancellation, flood) is killed at
once, and the next call gets a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from services.tools.catalogue import Arguments, Tool
from services.tools.errors import OutputTooLarge, ToolFailed, rebuild
from services.tools.events import Output, Progress, Reporter
from services.tools.fence import Fence
from services.tools.frames import HEADER, FrameInvalid, Kind, pack_json, unpack_header
from services.tools.workspace import Owner, Workspaces

START_SECONDS = 60.0
STOP_SECONDS = 15.0
# A frame that ends a call badly, or says how far it is, is small whatever the tool may put out.
_MAX_TALK_BYTES = 64 * 2**10

_log = structlog.get_logger("parley.tools")


@dataclass(frozen=True)
class Thrift:
    """When a worker that has grown gives its memory back: by being replaced, once nobody needs it.

    Attributes:
        kept_bytes: Memory with which an idle worker may stay: twice what a fresh one has.
        idle_seconds: How long a larger one waits for another call that needs what it has loaded.
    """

    kept_bytes: int = 100 * 2**20
    idle_seconds: float = 60.0


class WorkerUnusable(Exception):
    """A worker process does not start; the message says why."""


class Worker:
    """One worker process."""

    def __init__(self, process: Process) -> None:
        """Speak to a process that was just started; `start` makes one."""
        assert process.stdin is not None  # noqa: S101 - started with pipes
        assert process.stdout is not None  # noqa: S101
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._idle = False

    @classmethod
    async def start(cls, modules: Iterable[str], fence: Fence | None = None) -> Worker:
        """Start a process and wait until it takes calls.

        Args:
            modules: What it loads.
            fence: What it may reach then; None: whatever the service's user may.

        Raises:
            WorkerUnusable: It does not.
        """
        # Isolated (-I) and without an environment: a tool can leak nothing that is not there.
        within = json.dumps(asdict(fence)) if fence else ""
        command = (sys.executable, "-I", "-m", "services.tools.worker", within, *modules)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, env={}, start_new_session=True
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker._read(0)
        except (TimeoutError, asyncio.IncompleteReadError, FrameInvalid) as error:
            raise WorkerUnusable(f"a worker process does not start ({type(error).__name__})") from error
        finally:
            if not worker._idle:
                worker.kill()
        return worker

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds; 0 where that cannot be read."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def usable(self) -> bool:
        """Whether it lives and runs no call."""
        return self._idle and self._process.returncode is None and self._lives()

    def _lives(self) -> bool:
        """Whether the kernel still runs it, which asyncio may not know yet; reaping is left to asyncio."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    async def run(self, tool: Tool, call: bytes, report: Reporter) -> str:
        """Run a call; the result's JSON text.

        Cancelling this leaves the worker busy, and so unusable.

        Raises:
            ServiceError: The tool's own, or OutputTooLarge, or ToolFailed.
        """
        self._idle = False
        try:
            self._stdin.write(call)
            await self._stdin.drain()
            while (result := await self._follow(tool, report)) is None:
                pass
        except FrameInvalid:
            raise OutputTooLarge(tool.name, tool.max_output_bytes) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            _log.error("worker died", tool=tool.name, pid=self.pid)
            raise ToolFailed(tool.name, f"{tool.name} broke off: its process died.") from None
        return result

    async def _follow(self, tool: Tool, report: Reporter) -> str | None:
        """Take the call's next frame; the result, if it is that."""
        kind, payload = await self._read(max(tool.max_output_bytes, _MAX_TALK_BYTES))
        text = payload.decode()
        match kind:
            case Kind.RESULT:
                return text
            case Kind.OUTPUT:
                await report(Output(text))
            case Kind.PROGRESS:
                await report(Progress(**json.loads(text)))
            case Kind.ERROR:
                raise rebuild(**json.loads(text))
            case _:
                raise crashed(tool, text)
        return None

    async def _read(self, max_bytes: int) -> tuple[Kind, bytes]:
        """The next frame; one that ends a call, or READY, leaves the worker idle."""
        kind, length = unpack_header(await self._stdout.readexactly(HEADER.size), max_bytes)
        payload = await self._stdout.readexactly(length)
        self._idle = kind not in (Kind.OUTPUT, Kind.PROGRESS)
        return kind, payload

    def kill(self) -> None:
        """End the process, whatever it does. The event loop reaps it."""
        self._idle = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """End the process and wait until it and its pipes are gone."""
        self.kill()
        self._stdin.close()
        async with asyncio.timeout(STOP_SECONDS):
            # First the pipe: a reader that is full never sees its end, and asyncio waits for that too.
            while await self._stdout.read(_MAX_TALK_BYTES):
                pass
            await self._process.wait()


class WorkerPool:
    """Worker processes, at most so many, lent to one call at a time."""

    def __init__(
        self,
        workspaces: Workspaces,
        modules: Iterable[str],
        size: int,
        thrift: Thrift | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Make an empty pool.

        Args:
            workspaces: Where tools find their owner's files.
            modules: What a worker loads before it takes calls.
            size: Most processes at once.
            thrift: When workers that have grown are replaced.
            fence: What workers may reach; None: whatever the service's user may.
        """
        self._workspaces = workspaces
        self._modules = tuple(modules)
        self._size = size
        self._thrift = thrift or Thrift()
        self._fence = fence
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Worker] = []
        self._lent: set[Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[Worker, asyncio.TimerHandle] = {}
        self._stopped = False

    async def start(self) -> None:
        """Start all processes, so that no call waits for one.

        Raises:
            WorkerUnusable: They do not start.
        """
        for _ in range(self._size):
            self._idle.append(await Worker.start(self._modules, self._fence))

    async def stop(self) -> None:
        """End all processes."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        for worker in (*self._idle, *self._lent):
            self._end(worker)
        self._idle.clear()
        await asyncio.gather(*self._tasks)

    @property
    def pids(self) -> set[int]:
        """Ids of the processes there are."""
        return {worker.pid for worker in (*self._idle, *self._lent)}

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Worker]:
        """Wait for a worker and have it alone.

        Raises:
            WorkerUnusable: None starts.
        """
        async with self._turns:
            worker = await self._usable()
            self._lent.add(worker)
            try:
                yield worker
            finally:
                self._lent.discard(worker)
                if worker.usable:
                    self._keep(worker)
                else:
                    self._end(worker)

    def _keep(self, worker: Worker) -> None:
        """Keep a worker for the next call; one that has grown not for ever."""
        self._idle.append(worker)
        if worker.resident_bytes > self._thrift.kept_bytes:
            loop = asyncio.get_running_loop()
            self._timers[worker] = loop.call_later(self._thrift.idle_seconds, self._shed, worker)

    def _shed(self, worker: Worker) -> None:
        """End an idle worker and have a fresh one in its place."""
        del self._timers[worker]
        self._idle.remove(worker)
        self._end(worker)
        self._begin(self._replace())

    async def _replace(self) -> None:
        async with self._turns:
            if self._stopped or len(self._idle) + len(self._lent) >= self._size:
                return
            try:
                worker = await Worker.start(self._modules, self._fence)
            except WorkerUnusable:
                _log.exception("no worker starts in the place of one that had grown")
                return
            if self._stopped:
                await worker.stop()
            else:
                self._idle.append(worker)

    def _end(self, worker: Worker) -> None:
        """Kill a worker now; its remains are cleared away meanwhile."""
        worker.kill()
        self._begin(worker.stop())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _usable(self) -> Worker:
        """The worker that was used last, which is the warmest; a new one where none lives."""
        while self._idle:
            worker = self._idle.pop()
            if timer := self._timers.pop(worker, None):
                timer.cancel()
            if worker.usable:
                return worker
            self._end(worker)
        return await Worker.start(self._modules, self._fence)

    def call(self, tool: Tool, arguments: Arguments, owner: Owner) -> bytes:
        """The frame that makes a worker run a call."""
        template = self._workspaces.template
        return pack_json(
            Kind.CALL,
            {
                "tool": tool.reference,
                "arguments": arguments.model_dump_json(exclude_unset=True),
                "tenant": owner.tenant_id,
                "user": owner.user_id,
                "conversation": owner.conversation_id,
                "root": str(self._workspaces.root),
                "template": str(template) if template else "",
                "limits": asdict(self._workspaces.limits),
            },
        )


def crashed(tool: Tool, traceback: str) -> ToolFailed:
    """The error for a tool's own fault: logged in full, told without the details."""
    _log.error("tool crashed", tool=tool.name, traceback=traceback)
    return ToolFailed(
        tool.name, f"{tool.name} failed because of a fault of its own; the log has the details."
    )
