"""What processes of others do, watched until it happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil

DEADLINE_SECONDS = 20.0
LOOK_SECONDS = 0.02


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def eventually(holds: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Waits, with a deadline, for something that another process does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        assert loop.time() < deadline, "it did not happen in time"
        await asyncio.sleep(LOOK_SECONDS)
