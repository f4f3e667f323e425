"""`parley down`: ends the local stack."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import psutil
import typer

from cli.console import answers
from cli.environment import command_settings
from cli.failures import CommandError, told
from cli.home import Home

PATIENCE_SECONDS = 60.0
KILL_SECONDS = 10.0


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
    end_supervisor(state.supervisor.pid, seconds, home.path)
    answers().print("Parley has ended.")


def end_supervisor(pid: int, seconds: float, home: Path) -> None:
    """Tells a supervisor to end; kills it after a while, upon which its guard ends the rest.

    Raises:
        CommandError: It belongs to somebody else.
    """
    try:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(pid)
            supervisor.terminate()
            try:
                supervisor.wait(seconds)
            except psutil.TimeoutExpired:
                supervisor.kill()
                supervisor.wait(KILL_SECONDS)
    except psutil.AccessDenied:
        message = f"The stack of {home} belongs to another user."
        raise CommandError(message, "End it as that user.") from None
