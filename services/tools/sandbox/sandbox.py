"""Runs a program shut in, watches it, and leaves nothing of it behind."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import marshal
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from services.tools.sandbox import policy, seccomp
from services.tools.sandbox.collection import Collected, collect, measure
from services.tools.sandbox.confinement import Confinement, Place
from services.tools.sandbox.policy import Limits
from services.tools.sandbox.stage import LENGTH_BYTES, READY

STAMP = 1
"""Nanoseconds since 1970: when files that go in were changed last, as the program sees it."""

_PIECE_BYTES = 16 * 2**10
_MESSAGE_BYTES = 4096
_STAGE_SECONDS = 30.0
_END_SECONDS = 15.0
_LOOK_SECONDS = 0.1

# SIGKILL comes from nobody but the kernel, when the machine's memory ends.
_LIMIT_BY_STATUS = {128 + signal.SIGXCPU: "cpu_seconds", 128 + signal.SIGKILL: "memory_bytes"}

Hear = Callable[[str], Awaitable[None]]
"""Takes what a program puts out, as it appears."""


class SandboxBroken(Exception):
    """The sandbox itself failed; the message says at what."""


class LimitReached(Exception):
    """The program was ended because it took more than it may.

    Attributes:
        limit: The field of `Limits` that it broke.
    """

    def __init__(self, limit: str) -> None:
        super().__init__(f"the program was ended: it took more than its {limit}")
        self.limit = limit


@dataclass(frozen=True)
class Program:
    """What is to run.

    Attributes:
        code: Python code.
        arguments: What it finds in `sys.argv` after its name.
        files: What it finds in its workspace, by path.
        limits: How much it may take.
    """

    code: str
    arguments: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        exit_status: 0 to 255; 128 + n where signal n ended it.
        stdout: What it wrote to standard output.
        stderr: What it wrote to standard error.
        collected: The files that it made or changed.
    """

    exit_status: int
    stdout: str
    stderr: str
    collected: Collected


class Sandbox:
    """Runs programs, so many at once."""

    def __init__(self, confinement: Confinement, at_once: int) -> None:
        """Run programs in this confinement.

        Raises:
            FilterUnusable: System calls cannot be filtered here.
        """
        self.confinement = confinement
        self._turns = asyncio.Semaphore(at_once)
        self._filter = seccomp.program(namespaces=confinement.namespaces)

    async def run(self, program: Program, hear: Hear | None = None) -> Finished:
        """Run a program to its end. Cancelling this ends it at once.

        Args:
            program: What to run.
            hear: Takes its standard output and standard error as they appear.

        Raises:
            LimitReached: It took too much time or put out too much.
            SandboxBroken: It could not be started.
        """
        async with (
            self._turns,
            self.confinement.place() as place,
            self._started(place) as (process, control),
        ):
            try:
                async with asyncio.timeout(program.limits.seconds):
                    return await self._follow(program, place, process, control, hear or _ignore)
            except TimeoutError:
                raise LimitReached("seconds") from None

    async def _follow(
        self, program: Program, place: Place, process: Process, control: socket.socket, hear: Hear
    ) -> Finished:
        """Tell the stage what to do, and take what comes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_watch(place, program.limits))
                # Read from the start: a stage that fails must not wait for room in a pipe.
                reads = [
                    tasks.create_task(_read(stream, program.limits.output_bytes, hear))
                    for stream in (process.stdout, process.stderr)
                ]
                workspace = await self._begin(program, place, control)
                with _closing(workspace):
                    stdout, stderr = [await read for read in reads]
                    status = _checked(await process.wait())
                    watching.cancel()
                    collected = await self._collect(os.dup(workspace), program)
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return Finished(status, stdout, stderr, collected)

    async def _collect(self, workspace: int, program: Program) -> Collected:
        """Take out the program's files."""
        # A thread cannot be cancelled; it goes on with a handle of its own.
        work = asyncio.to_thread(collect, workspace, program.files, STAMP, program.limits)
        return await asyncio.shield(asyncio.create_task(work))

    async def _begin(self, program: Program, place: Place, control: socket.socket) -> int:
        """Give the order; the workspace's handle."""
        loop = asyncio.get_running_loop()
        order = marshal.dumps(self._order(program, place))
        try:
            async with asyncio.timeout(_STAGE_SECONDS):
                await loop.sock_sendall(control, len(order).to_bytes(LENGTH_BYTES, "big") + order)
                await _readable(control)
            answer, handles, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 1)
        except ConnectionError as error:
            raise SandboxBroken("its process ended before it began") from error
        if answer != READY or not handles:
            raise SandboxBroken(answer.decode("utf-8", "replace") or "its process ended before it began")
        return handles[0]

    def _order(self, program: Program, place: Place) -> dict[str, object]:
        limits = program.limits
        rlimits = {
            # Beyond the first comes a signal that tells of it, beyond the second a kill.
            "RLIMIT_CPU": (limits.cpu_seconds, limits.cpu_seconds + 1),
            "RLIMIT_AS": (limits.memory_bytes,) * 2,
            "RLIMIT_FSIZE": (limits.file_bytes,) * 2,
            "RLIMIT_NOFILE": (limits.open_files,) * 2,
            "RLIMIT_CORE": (0, 0),
            "RLIMIT_MEMLOCK": (0, 0),
            "RLIMIT_MSGQUEUE": (0, 0),
        }
        if self.confinement.namespaces:
            rlimits["RLIMIT_NPROC"] = (limits.threads,) * 2
        return {
            "code": program.code,
            "arguments": list(program.arguments),
            "files": list(program.files.items()),
            "stamp": STAMP,
            "limits": asdict(limits),
            "rlimits": rlimits,
            "filter": self._filter,
            "namespaces": self.confinement.namespaces,
            "become": self.confinement.become,
            "workspace": place.workspace,
            "scratch": place.scratch,
            "readable": list(self.confinement.interpreter.readable),
            "devices": list(policy.DEVICES),
        }

    @asynccontextmanager
    async def _started(self, place: Place) -> AsyncIterator[tuple[Process, socket.socket]]:
        """The stage's process and the socket to talk to it; both are gone afterwards."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            starting = asyncio.create_task(_start(place.command, theirs))
            try:
                process = await asyncio.shield(starting)
                theirs.close()
                yield process, ours
            finally:
                # A start that is cancelled halfway would leave bubblewrap's inner process behind.
                await asyncio.shield(_end(starting, ours))


async def _start(command: Sequence[str], theirs: socket.socket) -> Process:
    return await asyncio.create_subprocess_exec(
        *(*command, str(theirs.fileno())),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={},
        cwd="/",
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
    )


async def _end(starting: asyncio.Task[Process], control: socket.socket) -> None:
    """Kill what is left, and wait until the last process that could write to us has gone."""
    process = await starting
    control.close()  # A stage that has not begun finds nobody to answer to.
    if process.returncode is None:
        _kill(process.pid)
    async with asyncio.timeout(_END_SECONDS):
        for stream in (process.stdout, process.stderr):
            while stream is not None and await stream.read(_PIECE_BYTES):
                pass
        await process.wait()


def _kill(pid: int) -> None:
    """Kill what runs in the sandbox; bubblewrap's own process then reaps it and ends.

    Where nothing runs in it yet, the whole group is killed: bubblewrap may be
    about to start it, and it is not bound yet to die with bubblewrap.
    """
    inside: list[str] = []
    with contextlib.suppress(OSError):
        inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    with contextlib.suppress(ProcessLookupError):
        for child in inside:
            os.kill(int(child), signal.SIGKILL)
        if not inside:
            os.killpg(pid, signal.SIGKILL)


async def _read(stream: asyncio.StreamReader | None, limit: int, hear: Hear) -> str:
    """All of a stream's text.

    Raises:
        LimitReached: There is more than may be.
    """
    assert stream is not None  # noqa: S101 - started with pipes
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces: list[str] = []
    taken = 0
    while piece := await stream.read(_PIECE_BYTES):
        taken += len(piece)
        if taken > limit:
            raise LimitReached("output_bytes")
        if text := decoder.decode(piece):
            pieces.append(text)
            await hear(text)
    return "".join((*pieces, decoder.decode(b"", final=True)))


async def _watch(place: Place, limits: Limits) -> None:
    """End a program whose folders have no bound of their own, when they have grown too large.

    Raises:
        LimitReached: They have.
    """
    while place.watched:
        for folder in place.watched:
            size, entries = await asyncio.to_thread(measure, folder, limits)
            if size > limits.workspace_bytes:
                raise LimitReached("workspace_bytes")
            if entries > limits.entries:
                raise LimitReached("entries")
        await asyncio.sleep(_LOOK_SECONDS)


def _checked(status: int) -> int:
    """The exit status as a shell would tell it.

    Raises:
        LimitReached: The kernel ended the program for a limit.
    """
    status = status if status >= 0 else 128 - status
    if status in _LIMIT_BY_STATUS:
        raise LimitReached(_LIMIT_BY_STATUS[status])
    return status


async def _readable(connection: socket.socket) -> None:
    """Wait until there is something to read, or the end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


@contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


async def _ignore(_text: str) -> None:
    """Nobody listens."""
