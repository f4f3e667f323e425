"""Faults and changes of a running platform, and what its clients saw of each."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.faults.load import HUNG, OK, Load, Outcome
from tests.platform import Stack, family

HANG_SECONDS = 8.0
GOOD_CALLS = 3
"""As many calls in a row of each kind must go well for the platform to count as whole."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: What.
        strike: Does it, and is over when it is done.
    """

    name: str
    strike: Callable[[Stack], Awaitable[None]]


@dataclass(frozen=True)
class Report:
    """What clients saw of a fault, from its beginning until everything was whole.

    Attributes:
        fault: Its name.
        calls: How many calls were under way or began.
        failed: How many did not go well, by how they ended.
        untyped: Those whose client was not told what happened.
        hung: Those that only the client's patience ended.
        whole_seconds: From the fault until no call failed any more.
    """

    fault: str
    calls: int
    failed: Counter[str]
    untyped: list[Outcome]
    hung: list[Outcome]
    whole_seconds: float


def kill(name: str) -> Fault:
    """SIGKILL to a process and all below it."""

    async def strike(stack: Stack) -> None:
        process = stack.process(name)
        for each in reversed(family(process)):
            each.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait, 60)

    return Fault(f"kill -9 {name}", strike)


def kill_all(names: Sequence[str]) -> Fault:
    """SIGKILL to all of these at once; they come back in whatever order they can."""

    async def strike(stack: Stack) -> None:
        await asyncio.gather(*(kill(name).strike(stack) for name in names))

    return Fault("kill -9 of everything at once", strike)


def hang(name: str) -> Fault:
    """A process and all below it stand still for a while."""

    async def strike(stack: Stack) -> None:
        with stack.stopped(name):
            await asyncio.sleep(HANG_SECONDS)

    return Fault(f"{name} stands still for {HANG_SECONDS:g} s", strike)


def change(name: str, *arguments: str) -> Fault:
    """What runs is changed by a command, which must go well."""

    async def strike(stack: Stack) -> None:
        done = await asyncio.to_thread(stack.parley, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    return Fault(name, strike)


async def suffer(stack: Stack, load: Load, fault: Fault) -> Report:
    """Let a fault strike a platform under load, and wait until each kind of call goes well again."""
    await load.until_each_succeeds(1, after=time.monotonic())
    began = time.monotonic()
    await fault.strike(stack)
    await load.until_each_succeeds(GOOD_CALLS, after=time.monotonic())
    return report(fault.name, [each for each in load.outcomes if each.ended >= began], began)


def report(fault: str, outcomes: Sequence[Outcome], began: float) -> Report:
    """What these calls say of a fault that began then."""
    bad = [each for each in outcomes if each.end != OK]
    return Report(
        fault,
        len(outcomes),
        Counter(f"{each.kind}: {each.end}" for each in bad),
        [each for each in bad if not each.typed and each.end != HUNG],
        [each for each in bad if each.end == HUNG],
        max((each.ended for each in bad), default=began) - began,
    )
