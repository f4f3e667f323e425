"""`parley down` ends a supervisor, however it takes it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.down import end_supervisor
from cli.home import ProcessState

PATIENCE_SECONDS = 60.0


@contextmanager
def unasked(program: str) -> Iterator[psutil.Process]:
    """A process whose parent never asks how it ended."""
    command = f"{program} & echo $!; exec sleep 1000"
    with subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        try:
            yield process
        finally:
            for each in (process, psutil.Process(parent.pid)):
                each.kill()


def state_of(process: psutil.Process) -> ProcessState:
    return ProcessState(pid=process.pid, started=process.create_time(), phase="ready")


def test_a_supervisor_that_ended_is_over_though_nobody_asked_how(tmp_path: Path) -> None:
    with unasked("sleep 1000") as process:
        end_supervisor(state_of(process), PATIENCE_SECONDS, tmp_path)
        assert process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_one_that_does_not_end_is_killed(tmp_path: Path, seconds: float) -> None:
    with unasked("sleep 1000") as process:
        process.send_signal(signal.SIGSTOP)
        end_supervisor(state_of(process), seconds, tmp_path)
        assert process.status() == psutil.STATUS_ZOMBIE


def test_one_that_is_gone_is_no_fault(tmp_path: Path) -> None:
    with unasked("sleep 1000") as process:
        gone = state_of(process)
    end_supervisor(gone, PATIENCE_SECONDS, tmp_path)
    assert not gone.is_alive()
