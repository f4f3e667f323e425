"""The memory of processes, each with all that it started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import psutil

PEAK_SECONDS = 0.5


def resident(pids: Mapping[str, int]) -> dict[str, int]:
    """The memory that the processes share with no other, in bytes, by name."""
    return {name: _tree(psutil.Process(pid)) for name, pid in pids.items()}


def _tree(process: psutil.Process) -> int:
    total: int = process.memory_full_info().uss
    for below in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += below.memory_full_info().uss
    return total


@asynccontextmanager
async def watched(
    pids: Mapping[str, int], before: Mapping[str, int], grown: dict[str, int]
) -> AsyncIterator[None]:
    """Notes by how much processes grow until the block's end, at most."""

    def note() -> None:
        for name, now in resident(pids).items():
            grown[name] = max(grown.get(name, 0), now - before[name])

    async def watch() -> None:
        while True:
            note()
            await asyncio.sleep(PEAK_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield
        note()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
