"""The socket at which a running `parley up` is told to change its replicas. Only its owner can use it."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from cli.failures import CommandError, ExitCode
from cli.local.control import MOST_BYTES, REQUEST, Failure, ListReplicas, ReplicaState, Reply, Request
from cli.local.membership import Tell
from deploy.unix_path import short
from services.rpc.tasks import end_task

ASK_SECONDS = 5.0
"""Time that a caller has to say what it wants, and to take each line of the answer."""

BEAT_SECONDS = 0.5
MOST_CALLERS = 8
CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end, as the kernel tells them."""

ROOT = 0

Act = Callable[[Request, Tell], Awaitable[None]]


class ControlServer:
    """Takes requests, and makes one change at a time."""

    def __init__(self, path: Path, act: Act, replicas: Callable[[], tuple[ReplicaState, ...]]) -> None:
        """Serve at this path.

        Args:
            path: The socket's.
            act: Makes a change, and raises `CommandError` where it cannot.
            replicas: Those that there are.
        """
        self._path = path
        self._act = act
        self._replicas = replicas
        self._callers = 0
        self._change: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take requests until the block's end, which a change under way does not outlive."""
        server = await asyncio.start_unix_server(self._called, sock=self._bound(), limit=MOST_BYTES)
        try:
            yield
        finally:
            server.close()
            if self._change is not None:
                await end_task(self._change)
            self._path.unlink(missing_ok=True)

    def _bound(self) -> socket.socket:
        """The socket; one that is left of a supervisor that was killed gives way, as the home is held."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        with short(self._path) as path:
            listener.bind(path)
        self._path.chmod(0o600)
        return listener

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers += 1
        try:
            if self._callers <= MOST_CALLERS and _is_owner(writer):
                await self._answer(await _asked(reader), writer)
        except (OSError, TimeoutError):
            pass  # The caller left, or was too slow. What it asked for goes on.
        except ValueError as error:
            with suppress(OSError, TimeoutError):
                await _write(writer, Reply(failure=_not_understood(error)))
        finally:
            self._callers -= 1
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Do what was asked for, and tell of it while it goes on."""
        failure = None
        try:
            if not isinstance(request, ListReplicas):
                await self._make(request, writer)
        except CommandError as error:
            failure = Failure(message=error.message, remedy=error.remedy, exit_code=error.exit_code)
        await _write(writer, Reply(failure=failure, replicas=None if failure else self._replicas()))

    async def _make(self, request: Request, writer: asyncio.StreamWriter) -> None:
        """Make a change that goes on whether or not somebody listens.

        Raises:
            CommandError: It cannot be made, another is under way, or the stack ends.
        """
        if self._change is not None and not self._change.done():
            raise CommandError("Another change is under way.", "Wait until it is done.")
        steps: list[str] = []
        change = self._change = asyncio.ensure_future(self._act(request, steps.append))
        told, is_over = 0, False
        while not is_over:
            done, _ = await asyncio.wait({change}, timeout=BEAT_SECONDS)
            is_over = bool(done)
            for step in steps[told:] or [""]:
                await _write(writer, Reply(step=step))
            told = len(steps)
        if change.cancelled():
            raise CommandError("The stack ends.", "", ExitCode.UNREACHABLE)
        _told(change)


def _told(change: asyncio.Future[None]) -> None:
    """Whether a change that is over went well.

    Raises:
        CommandError: It did not, for whatever reason: whoever asked is told, and the stack goes on.
    """
    error = change.exception()
    if isinstance(error, CommandError):
        raise error
    if error is not None:
        message = f"The change failed midway: {str(error) or type(error).__name__}"
        raise CommandError(message, "`parley replicas list` shows what there is now.") from error


def _is_owner(writer: asyncio.StreamWriter) -> bool:
    """Whether the process at the other end is the same user's, or root's. The folder keeps others out too."""
    connection = writer.get_extra_info("socket")
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, user, _ = CREDENTIALS.unpack(told)
    return user in (os.getuid(), ROOT)


async def _asked(reader: asyncio.StreamReader) -> Request:
    """What a caller wants.

    Raises:
        TimeoutError: It does not say.
        ValueError: It is not understood, or too long.
    """
    async with asyncio.timeout(ASK_SECONDS):
        return REQUEST.validate_json(await reader.readline())


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Tell the caller.

    Raises:
        OSError: It left.
        TimeoutError: It does not listen.
    """
    writer.write(reply.model_dump_json(exclude_none=True).encode() + b"\n")
    async with asyncio.timeout(ASK_SECONDS):
        await writer.drain()


def _not_understood(error: ValueError) -> Failure:
    faults = error.error_count() if isinstance(error, ValidationError) else 1
    return Failure(
        message=f"The request is not understood ({faults} fault(s)).",
        remedy="Is this command of the same release as the `parley up` that runs?",
        exit_code=ExitCode.FAILED,
    )
