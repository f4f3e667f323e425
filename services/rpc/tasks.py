"""Tasks that run beside the calls."""

from __future__ import annotations

import asyncio
from typing import Any

ASK_AGAIN_SECONDS = 1.0


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return when it is over, whatever it ended with.

    Asks again until it is: a library that turns a cancellation into a time-out
    of its own (the store's client can) would leave the task running.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=ASK_AGAIN_SECONDS)
