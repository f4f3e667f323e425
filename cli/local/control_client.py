"""Tells a running `parley up` to change its replicas."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from cli.failures import CommandError, ExitCode
from cli.home import Home
from cli.local.control import MOST_BYTES, ReplicaState, Reply, Request
from deploy.unix_path import short

SILENCE_SECONDS = 30.0
"""The other side tells more often than this that it goes on."""


def ask(home: Home, request: Request, show: Callable[[str], None]) -> tuple[ReplicaState, ...]:
    """Have something done by the stack of this home.

    Args:
        home: The stack's.
        request: What.
        show: Told of each step.

    Returns:
        The replicas that there are now.

    Raises:
        CommandError: It was not done, or no stack runs.
    """
    try:
        for reply in _replies(home, request):
            if reply.failure is not None:
                failure = reply.failure
                raise CommandError(failure.message, failure.remedy, ExitCode(failure.exit_code))
            if reply.replicas is not None:
                return reply.replicas
            if reply.step:
                show(reply.step)
    except (FileNotFoundError, ConnectionRefusedError):
        message = f"No stack that is ready runs from {home.path}."
        raise CommandError(message, "`parley status` shows it.", ExitCode.UNREACHABLE) from None
    except TimeoutError:
        raise CommandError("The stack does not answer.", "Its logs may say why.") from None
    except PermissionError:
        message = f"The stack of {home.path} belongs to another user."
        raise CommandError(message, "Ask as that user.", ExitCode.NOT_ALLOWED) from None
    except (OSError, ValueError) as error:
        raise CommandError(f"The stack's answer is not understood: {error}") from None
    raise CommandError("The stack ended before it was done.", "`parley status` shows it.")


def _replies(home: Home, request: Request) -> Iterator[Reply]:
    """The lines of the answer, as they come.

    Raises:
        OSError: Nobody listens, or not for long enough.
        ValueError: A line is none.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SILENCE_SECONDS)
        with short(home.control_path) as path:
            connection.connect(path)
        connection.sendall(request.model_dump_json().encode() + b"\n")
        with connection.makefile("rb") as lines:
            while line := lines.readline(MOST_BYTES):
                yield Reply.model_validate_json(line)
