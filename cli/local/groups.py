"""The process groups that must not outlive this program, written down with the guard."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

GUARD = Path(__file__).with_name("guard.py")
GUARD_SECONDS = 10.0


class ProcessGroups:
    """Groups that the guard ends should this program end first."""

    def __init__(self, guard: IO[bytes]) -> None:
        self._guard = guard

    def began(self, group: int) -> None:
        """A group that must not outlive this program began."""
        self._tell(f"+{group}\n")

    def kill(self, group: int) -> None:
        """Kills what is left of a group, and forgets it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        # Without its guard the program still ends everything in an orderly stop.
        with contextlib.suppress(BrokenPipeError):
            self._guard.write(line.encode())
            self._guard.flush()


@contextmanager
def guarded_groups() -> Iterator[ProcessGroups]:
    """Starts the guard; it ends when this is left, or when this program is killed."""
    command = [sys.executable, "-I", "-S", str(GUARD)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    assert guard.stdin is not None  # noqa: S101 - stdin=PIPE, for the type checker
    try:
        yield ProcessGroups(guard.stdin)
    finally:
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
        try:
            guard.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            guard.kill()
