"""Which sandbox works on this machine, found out by running programs that try to get out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from services.tools.sandbox.confinement import Bubblewrap, Confinement, Interpreter, Landlock
from services.tools.sandbox.sandbox import LimitReached, Program, Sandbox, SandboxBroken
from services.tools.sandbox.seccomp import FilterUnusable

_KEPT = "kept.txt"
_ATTEMPTS = f"""
import _socket, json, os

def refused(attempt):
    try:
        attempt()
    except OSError:
        return True
    return False

print(json.dumps({{
    "network": refused(lambda: _socket.socket()),
    "another process": refused(lambda: os.fork() or os._exit(0)),
    "another program": refused(lambda: os.execv("/bin/true", ["true"])),
    "a signal to its parent": refused(lambda: os.kill(os.getppid(), 0)),
    "its environment": not os.environ and refused(lambda: open("/proc/self/environ", "rb")),
    "the service's files": refused(lambda: open({__file__!r}, "rb")),
    "writing elsewhere": refused(lambda: open("/.parley-probe", "wb")),
}}))
with open({_KEPT!r}, "w") as file:
    file.write("kept")
"""


class SandboxUnavailable(Exception):
    """No sandbox works on this machine; the message says why, for people."""


@dataclass(frozen=True)
class Wanted:
    """What the settings say.

    Attributes:
        kinds: The sandboxes to try, in order: `bubblewrap`, `landlock`.
        at_once: Programs that run at once.
        interpreter: Runs the programs.
        root: Holds programs' folders where the sandbox has none of its own.
    """

    kinds: tuple[str, ...]
    at_once: int
    interpreter: Interpreter
    root: Path


async def find_sandbox(wanted: Wanted) -> Sandbox:
    """The first that holds.

    Raises:
        SandboxUnavailable: None does.
    """
    reasons = []
    for kind in wanted.kinds:
        try:
            sandbox = Sandbox(_MAKERS[kind](wanted), wanted.at_once)
            await check(sandbox)
        except (SandboxBroken, FilterUnusable, LimitReached, OSError) as error:
            reasons.append(f"{kind}: {error}")
            continue
        return sandbox
    raise SandboxUnavailable("no sandbox works on this machine" + "".join(f"; {why}" for why in reasons))


async def check(sandbox: Sandbox) -> None:
    """Run a program that tries to get out.

    Raises:
        SandboxBroken: The sandbox does not start, or the program got out somewhere.
        LimitReached: It took too long.
    """
    finished = await sandbox.run(Program(_ATTEMPTS))
    try:
        held: dict[str, bool] = json.loads(finished.stdout)
    except ValueError:
        last = (finished.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise SandboxBroken(f"the trial failed with status {finished.exit_status}: {last}") from None
    if open_ways := _open_ways(held.items()):
        raise SandboxBroken(f"it does not keep programs from {', '.join(open_ways)}")
    if finished.collected.files.get(_KEPT) != b"kept":
        raise SandboxBroken("it does not give back what programs write")


def _open_ways(held: Iterable[tuple[str, bool]]) -> list[str]:
    return [name for name, holds in held if not holds]


def _bubblewrap(wanted: Wanted) -> Confinement:
    executable = shutil.which("bwrap")
    if executable is None:
        raise SandboxBroken("bwrap is not installed")
    return Bubblewrap(executable, wanted.interpreter)


def _landlock(wanted: Wanted) -> Confinement:
    return Landlock(wanted.root, wanted.interpreter)


_MAKERS: dict[str, Callable[[Wanted], Confinement]] = {"bubblewrap": _bubblewrap, "landlock": _landlock}
