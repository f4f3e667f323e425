"""A process that a bench measures: it ends with the bench, however the bench ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cli.local.groups import guarded_groups

STOP_SECONDS = 60.0
LINE_BYTES = 1 << 26
"""A round's answer holds every gap of every stream."""


@asynccontextmanager
async def measured_process(
    command: Sequence[str],
    settings: Mapping[str, str],
    log: Path,
    *,
    takes_orders: bool = False,
    answers: bool = True,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a process; it and all that it started end with the block, or when this program is killed.

    Args:
        command: Program and arguments.
        settings: Variables of its environment, beside those of this program.
        log: Where its stderr goes.
        takes_orders: Whether it reads lines, and ends in order when there are no more.
        answers: Whether its stdout is read; it goes to the log otherwise.
    """
    with guarded_groups() as groups:
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *command,
                env={**os.environ, **settings},
                stdin=asyncio.subprocess.PIPE if takes_orders else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if answers else file,
                stderr=file,
                limit=LINE_BYTES,
                start_new_session=True,
            )
        groups.began(process.pid)
        try:
            yield process
        except BaseException:
            # One that still starts does not see that there are no more orders.
            _terminate(process)
            raise
        finally:
            await _end(process)
            groups.kill(process.pid)


def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ends a process in order, or else by force."""
    if process.stdin is not None:
        process.stdin.close()
    else:
        _terminate(process)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
