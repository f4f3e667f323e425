"""`parley down`: ends the local stack."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Annotated

import psutil
import typer

from cli.console import answers
from cli.environment import command_settings
from cli.failures import CommandError, told
from cli.home import Home, ProcessState

PATIENCE_SECONDS = 60.0
KILL_SECONDS = 10.0
LOOK_SECONDS = 0.1


@told
def down(
    seconds: Annotated[float, typer.Option(help="Time for running calls to end.", min=0)] = PATIENCE_SECONDS,
) -> None:
    """Drain and end the local stack. Fine when none runs."""
    home = Home(command_settings(os.environ).home.absolute())
    state = home.running()
    if state is None:
        answers().print(f"No stack runs from {home.path}.")
        return
    end_supervisor(state.supervisor, seconds, home.path)
    answers().print("Parley has ended.")


def end_supervisor(supervisor: ProcessState, seconds: float, home: Path) -> None:
    """Tells a supervisor to end; kills it after a while, upon which its guard ends the rest.

    Raises:
        CommandError: It belongs to somebody else.
    """
    try:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(supervisor.pid)
            process.terminate()
            if not _ends(supervisor, seconds):
                process.kill()
                _ends(supervisor, KILL_SECONDS)
    except psutil.AccessDenied:
        message = f"The stack of {home} belongs to another user."
        raise CommandError(message, "End it as that user.") from None


def _ends(supervisor: ProcessState, seconds: float) -> bool:
    """Whether a process ends within this time, even where nobody asks how it ended."""
    deadline = time.monotonic() + seconds
    while supervisor.is_alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
