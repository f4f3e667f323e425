"""Both sandboxes, for every test that asks for one."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from services.tools.sandbox.confinement import Bubblewrap, Confinement, Interpreter, Landlock, Place
from services.tools.sandbox.sandbox import Finished, Program, Sandbox

_PR_SET_CHILD_SUBREAPER = 36
SYSTEM_PYTHON = Path("/usr/bin/python3")


class BubblewrapOfNobody(Bubblewrap):
    """Bubblewrap as a service runs it that is not root."""

    def __init__(self, executable: str, interpreter: Interpreter) -> None:
        super().__init__(executable, interpreter, user=1234)

    def place(self) -> AbstractAsyncContextManager[Place]:
        place = self._place
        lowered = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", *place.command)
        return nullcontext(replace(place, command=lowered))


def confinement(kind: str, folder: Path) -> Confinement:
    bwrap = shutil.which("bwrap")
    assert bwrap, "the tests need bubblewrap"
    if kind == "landlock":
        return Landlock(folder, Interpreter.own())
    if kind == "bubblewrap-as-user" and os.geteuid() == 0:
        return BubblewrapOfNobody(bwrap, Interpreter.at(SYSTEM_PYTHON))
    return Bubblewrap(bwrap, Interpreter.own())


@pytest.fixture(autouse=True)
def orphans_come_to_us() -> Iterator[None]:
    """A process whose parent has died becomes this one's child, so that none can hide."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.fixture(params=["bubblewrap", "bubblewrap-as-user", "landlock"])
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Sandbox:
    return Sandbox(confinement(request.param, tmp_path), 4)


@pytest.fixture
def run(sandbox: Sandbox) -> Callable[..., object]:
    """Runs code in each of the sandboxes."""

    async def running(code: str, **more: object) -> Finished:
        return await sandbox.run(Program(code, **more))

    return running
