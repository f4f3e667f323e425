"""MCP over the standard streams of a program that this service starts.

The SDK's own transport hands on parts of the environment and reads lines of any
length; here the program gets the environment that the operator named and nothing
else, and a line has a limit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from services.rpc.tasks import end_task
from services.tools.settings import McpCommand

MAX_MESSAGE_BYTES = 4 * 2**20
LEAVE_SECONDS = 2.0
"""Time that a program has to end by itself after its input has ended."""

_STAGE = Path(__file__).with_name("launch.py")
_ENDED_SECONDS = 10.0
_PIECE_BYTES = 64 * 2**10

_log = structlog.get_logger("parley.tools")

Streams = tuple[Any, Any]
"""Messages that arrive, and messages that leave, as the SDK's transports give them."""

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectReceiveStream[SessionMessage]


@asynccontextmanager
async def program_streams(
    command: McpCommand, *, memory_bytes: int, on_end: Callable[[], None]
) -> AsyncIterator[Streams]:
    """Start a program and exchange messages with it; it and all that it started are ended afterwards.

    Args:
        command: What to start.
        memory_bytes: Data that it may hold in memory.
        on_end: Called when it says nothing more.

    Raises:
        OSError: It cannot be started.
    """
    process = await _start(command, memory_bytes)
    arrived, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    reading = asyncio.create_task(_read(process, arrived, on_end))
    writing = asyncio.create_task(_write(process, leaving))
    try:
        yield incoming, outgoing
    finally:
        for stream in (incoming, outgoing):
            stream.close()
        await asyncio.gather(end_task(reading), end_task(writing))
        await _end(process)


async def _start(command: McpCommand, memory_bytes: int) -> Process:
    environment = {name: value.get_secret_value() for name, value in command.environment.items()}
    stage = (sys.executable, "-I", str(_STAGE), str(memory_bytes), str(command.folder))
    return await asyncio.create_subprocess_exec(
        *stage,
        *command.argv,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,  # what it writes there is its own, may hold secrets, and has no end
        env=environment,
        limit=MAX_MESSAGE_BYTES,
        start_new_session=True,
    )


async def _read(process: Process, sink: Incoming, on_end: Callable[[], None]) -> None:
    """Pass on what the program says, a message a line; what is none is passed over."""
    assert process.stdout is not None  # noqa: S101 - started with pipes
    try:
        async with sink:
            while line := await process.stdout.readline():
                try:
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    _log.debug("an MCP program wrote a line that is no message", pid=process.pid)
                    continue
                await sink.send(SessionMessage(message))
    except ValueError:
        _log.warning("an MCP program wrote a line that is too long", pid=process.pid, limit=MAX_MESSAGE_BYTES)
    except (anyio.BrokenResourceError, ConnectionError):
        pass  # nobody listens any more, or the program is gone
    finally:
        on_end()


async def _write(process: Process, source: Outgoing) -> None:
    """Tell the program what is said."""
    assert process.stdin is not None  # noqa: S101
    with suppress(ConnectionError):
        async with source:
            async for each in source:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(f"{text}\n".encode())
                await process.stdin.drain()


async def _end(process: Process) -> None:
    """End the program in the protocol's order: its input ends, it has a while, then all of it is killed."""
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await _drained(process)
    finally:
        # Its children may have outlived it; they are of its group, and the group's id is its own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_ENDED_SECONDS):
            await _drained(process)
            await process.wait()


async def _drained(process: Process) -> None:
    """Read what is left: who writes to a full pipe does not leave, and asyncio waits for its end."""
    assert process.stdout is not None  # noqa: S101
    while await process.stdout.read(_PIECE_BYTES):
        pass
