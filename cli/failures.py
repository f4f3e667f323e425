"""How a command fails: one line with what, why and what to do, and an exit code that scripts can rely on."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import ParamSpec, TypeVar

import grpc
import typer
from rich.markup import escape

from cli.console import errors
from parley_client.errors import ParleyError
from services.rpc.settings import SettingsError

P = ParamSpec("P")
R = TypeVar("R")


class ExitCode(IntEnum):
    """What a command's exit status means. 2 is a wrong command line, by convention."""

    OK = 0
    FAILED = 1
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    MACHINE = 5
    """This machine or its settings lack something; nothing was started."""
    INTERRUPTED = 130


class CommandError(Exception):
    """A failure that is told to the person in one line.

    Args:
        message: What did not work, and why.
        remedy: What to do about it, as a sentence.
        exit_code: The command's exit status.
    """

    def __init__(self, message: str, remedy: str = "", exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code


_BY_STATUS = {
    grpc.StatusCode.UNAVAILABLE: ExitCode.UNREACHABLE,
    grpc.StatusCode.UNAUTHENTICATED: ExitCode.NOT_ALLOWED,
    grpc.StatusCode.PERMISSION_DENIED: ExitCode.NOT_ALLOWED,
}


def tell(message: str, remedy: str = "") -> None:
    """Writes the one line: what and why in red, what to do after it."""
    line = f"[red]{escape(message)}[/red]"
    errors().print(f"{line} {escape(remedy)}" if remedy else line, highlight=False, soft_wrap=True)


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Turns the failures that a command expects into their one line and exit status."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CommandError as error:
            tell(error.message, error.remedy)
            code = error.exit_code
        except ParleyError as error:
            tell(str(error), error.hint)
            code = _BY_STATUS.get(error.code, ExitCode.FAILED)
        except SettingsError as error:
            tell(str(error), "Correct or unset it.")
            code = ExitCode.MACHINE
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        raise typer.Exit(code)

    return run
