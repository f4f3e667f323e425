"""What a replica does once a second, beside its chats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from services.rpc.errors import ServiceError
from services.rpc.tasks import end_task

BEAT_SECONDS = 1.0

_log = structlog.get_logger("parley.inference")


@asynccontextmanager
async def beating(
    work: Callable[[], Awaitable[object]], name: str, *, waits: str, failed: str
) -> AsyncIterator[None]:
    """Do this in a beat until the block's end, through any trouble of the store and the database.

    Args:
        work: What is done.
        name: The task's name.
        waits: What the log says, once, when something that it needs does not answer any more.
        failed: What the log says of any other error.
    """
    task = asyncio.create_task(_beat(work, waits, failed), name=name)
    try:
        yield
    finally:
        await end_task(task)


async def _beat(work: Callable[[], Awaitable[object]], waits: str, failed: str) -> None:
    answers = True
    while True:
        try:
            await work()
            answers = True
        except ServiceError as error:
            if answers:
                _log.warning(waits, reason=error.reason_name())
            answers = False
        except Exception:
            _log.exception(failed)
        await asyncio.sleep(BEAT_SECONDS)
