"""Waits of a bench, all of which end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cli.failures import CommandError, ExitCode


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """Bounds the block by time.

    Raises:
        CommandError: It took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        message = f"This did not end within {seconds:g} s: {what}."
        raise CommandError(
            message, "Measure on a machine with nothing else to do.", ExitCode.FAILED
        ) from error


async def happens(event: asyncio.Event, task: asyncio.Task[None]) -> bool:
    """Waits for an event of a task; False if the task ended without it.

    Raises:
        Exception: The task failed.
    """
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        task.result()
    return event.is_set()
