"""What the sandbox adds to a program: its start, and many programs at once."""

from __future__ import annotations

import asyncio
import resource
import statistics
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from cli.bench.figures import Figure
from services.tools.sandbox.confinement import INTERPRETER_FLAGS, Interpreter
from services.tools.sandbox.probe import SandboxUnavailable, Wanted, find_sandbox
from services.tools.sandbox.sandbox import Program, Sandbox

KINDS = ("bubblewrap", "landlock")
START_TARGET_MS = 40
AT_ONCE = 16
_NOTHING = "pass"


async def sandbox_rows(starts: int, programs: int) -> list[Figure]:
    """What a start costs in each sandbox that works here, and what many leave behind.

    Args:
        starts: Starts of each kind.
        programs: Programs to run at once.
    """
    rows: list[Figure] = []
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
            try:
                sandbox = await find_sandbox(Wanted((kind,), AT_ONCE, Interpreter.own(), Path(scratch)))
            except SandboxUnavailable:
                continue
            rows += await _starts(kind, sandbox, starts)
            rows += await _many(kind, sandbox, programs, Path(scratch))
    return rows


async def _starts(kind: str, sandbox: Sandbox, starts: int) -> list[Figure]:
    """One start after the other, bare and shut in by turns: the machine drifts."""
    works: dict[str, Callable[[], Awaitable[object]]] = {
        "bare": lambda: bare(sandbox.confinement.interpreter),
        "shut in": lambda: sandbox.run(Program(_NOTHING)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    processor_seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(starts):
        for name, work in works.items():
            used = _processor_seconds()
            seconds[name].append(await _timed(work))
            processor_seconds[name].append(_processor_seconds() - used)
    return [
        Figure("the interpreter alone, p50", _milliseconds(seconds["bare"])),
        Figure(f"a program in {kind}, p50", _milliseconds(seconds["shut in"])),
        Figure(f"added by {kind}, p50", _added(seconds), target=START_TARGET_MS),
        Figure(f"processor time added by {kind}, p50", _added(processor_seconds)),
    ]


def _added(seconds: Mapping[str, Sequence[float]]) -> float:
    pairs = zip(seconds["bare"], seconds["shut in"], strict=True)
    return _milliseconds([shut_in - alone for alone, shut_in in pairs])


def _processor_seconds() -> float:
    """What the processes that have ended took, which other load distorts less than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _many(kind: str, sandbox: Sandbox, programs: int, scratch: Path) -> list[Figure]:
    before = _held(scratch)
    seconds = await _timed(lambda: _all(sandbox, programs))
    left = sum(max(0, after - was) for was, after in zip(before, _held(scratch), strict=True))
    return [
        Figure(f"{programs} programs at once in {kind}, each", 1000 * seconds / programs),
        Figure(f"processes, handles and files that they left in {kind}", left, "", 0),
    ]


async def _all(sandbox: Sandbox, programs: int) -> None:
    await asyncio.gather(*(sandbox.run(Program(_NOTHING)) for _ in range(programs)))


async def bare(interpreter: Interpreter) -> None:
    """Run the interpreter alone, to its end."""
    process = await asyncio.create_subprocess_exec(
        *(interpreter.executable, *INTERPRETER_FLAGS, "-c", _NOTHING),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env={},
    )
    await process.communicate()


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _held(scratch: Path) -> tuple[int, int, int]:
    """Processes, handles and temporary files that there are."""
    own = psutil.Process()
    return (
        len(own.children(recursive=True)),
        own.num_fds(),
        len(list(scratch.iterdir())),
    )


def _milliseconds(seconds: list[float]) -> float:
    return 1000 * statistics.median(seconds)
