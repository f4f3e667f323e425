"""Starts processes in order, brings back those that die, ends them in order, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from cli.local.child import Child, ChildSpec
from cli.local.groups import ProcessGroups

HEALTHY_SECONDS = 60.0
"""A process that lived this long after it was ready starts again without delay."""


class Phase(StrEnum):
    """Where a supervised process is."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    DRAINING = "draining"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Backoff:
    """How long a process that died waits before it starts again."""

    first_seconds: float = 0.5
    limit_seconds: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after this many failures in a row, 1 or more."""
        return float(min(self.limit_seconds, self.first_seconds * 2 ** min(failures - 1, 30)))


@dataclass(frozen=True)
class Change:
    """A process entered a phase; `detail` says more, for people."""

    name: str
    phase: Phase
    detail: str = ""
    seconds: float = 0


class StartFailed(Exception):
    """A process ended, or took too long, before it was ready for the first time."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} did not start: {why}")
        self.name = name


class Supervised:
    """One process and its successors."""

    def __init__(
        self, spec: ChildSpec, groups: ProcessGroups, report: Callable[[Change], None], backoff: Backoff
    ) -> None:
        self.spec = spec
        self.phase = Phase.WAITING
        self.restarts = 0
        self.child: Child | None = None
        self._groups = groups
        self._report = report
        self._backoff = backoff
        self._stopping = asyncio.Event()
        self._first = asyncio.get_running_loop().create_future()
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts it and waits until it is ready.

        Raises:
            StartFailed: It ended or took too long.
        """
        self._life = asyncio.create_task(self._live(), name=f"supervise {self.spec.name}")
        await self._first

    async def drain(self) -> None:
        """Lets its running calls end, if it is up and has a way to."""
        if self.spec.drain is not None and self.phase is Phase.READY:
            with contextlib.suppress(OSError):  # It is to end: one that does not answer has nothing to save.
                await self.spec.drain()

    async def leave(self, seconds: float) -> None:
        """Has it end by itself when nothing is under way any more, and ends it after this time."""
        self._stopping.set()  # it is not brought back
        if self.child is not None and self.phase is Phase.READY:
            self._enter(Phase.DRAINING, f"its calls have {seconds:g} s")
            await self.child.leave(seconds)
        await self.stop()

    async def stop(self) -> None:
        """Tells it to end, and makes it after its grace time. Nothing of its group is left."""
        began = time.monotonic()
        self._stopping.set()
        if self._life is None:
            return
        if self.child is not None and self.phase is not Phase.DIED:
            self._enter(Phase.STOPPING)
            await self.child.stop()
        await self._life
        self._enter(Phase.STOPPED, seconds=time.monotonic() - began)

    async def _live(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            why = await self._one_life(began)
            if self._stopping.is_set():
                break
            if not self._first.done():
                self._first.set_exception(StartFailed(self.spec.name, why))
                return
            lived = time.monotonic() - began
            failures = 1 if lived > HEALTHY_SECONDS else failures + 1
            await self._wait(why, self._backoff.delay(failures))
        if not self._first.done():
            self._first.cancel()

    async def _one_life(self, began: float) -> str:
        """Runs the process once, from its start to its end, and says why it ended."""
        self._enter(Phase.STARTING)
        try:
            self.child = await Child.start(self.spec, self._groups)
        except OSError as error:
            return f"{self.spec.command[0]} cannot be run ({error.strerror})"
        try:
            if await self.child.until_ready():
                self._enter(Phase.READY, seconds=time.monotonic() - began)
                if not self._first.done():
                    self._first.set_result(None)
            elif not self.child.has_ended:
                return f"not ready after {self.spec.start_seconds:g} s"
            return await self.child.until_ended()
        finally:
            await self.child.kill()

    async def _wait(self, why: str, delay: float) -> None:
        self._enter(Phase.DIED, f"{why}; starting again in {delay:g} s")
        self.restarts += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    def _enter(self, phase: Phase, detail: str = "", seconds: float = 0) -> None:
        self.phase = phase
        self._report(Change(self.spec.name, phase, detail, seconds))


class Supervisor:
    """The processes of a stack.

    Args:
        stages: What starts together, stage after stage, each when the one
            before is ready.
        groups: Where their process groups are written down.
        report: Told of every change; must not block.
        backoff: Delays before a process starts again.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[ChildSpec]],
        *,
        groups: ProcessGroups,
        report: Callable[[Change], None],
        backoff: Backoff | None = None,
    ) -> None:
        self._supervised = partial(Supervised, groups=groups, report=report, backoff=backoff or Backoff())
        self._stages = [[self._supervised(spec) for spec in stage] for stage in stages]

    @property
    def processes(self) -> list[Supervised]:
        """Every process, in the order of its start."""
        return [process for stage in self._stages for process in stage]

    def steps(self) -> dict[str, str]:
        """What the processes that are starting say about it, by name."""
        starting = (process for process in self.processes if process.phase is Phase.STARTING)
        return {process.spec.name: process.child.last_step() for process in starting if process.child}

    async def start(self) -> None:
        """Starts everything and waits until all of it is ready.

        Raises:
            StartFailed: A process did not become ready; the others still run.
        """
        for stage in self._stages:
            starts = [asyncio.ensure_future(process.start()) for process in stage]
            try:
                await asyncio.gather(*starts)
            finally:
                for start in starts:
                    start.cancel()

    async def add(self, spec: ChildSpec) -> None:
        """Starts one more process beside the others and waits until it is ready.

        Raises:
            StartFailed: It did not become ready; nothing of it is left.
        """
        process = self._supervised(spec)
        self._stages.append([process])
        try:
            await process.start()
        except StartFailed:
            await process.stop()
            self._stages.remove([process])
            raise

    async def remove(self, name: str, seconds: float) -> None:
        """Has a process end by itself within this time, ends it otherwise, and forgets it."""
        process = next(process for process in self.processes if process.spec.name == name)
        await process.leave(seconds)
        for stage in self._stages:
            if process in stage:
                stage.remove(process)

    async def stop(self) -> None:
        """Drains, then ends everything, lowest `stop_rank` first and equal ones together."""
        await asyncio.gather(*(process.drain() for process in self.processes))
        for rank in sorted({process.spec.stop_rank for process in self.processes}):
            await asyncio.gather(*(p.stop() for p in self.processes if p.spec.stop_rank == rank))


def on_stop_signals(act: Callable[[], None]) -> None:
    """Calls `act` for Ctrl-C and SIGTERM instead of ending the program."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, act)
