"""What the processes of a platform hold, looked at again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.asyncio import Redis

from tests.platform import Stack

STORES = ("store", "cache")
SAMPLE_SECONDS = 5.0
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Sample:
    """What one look found, by process: with all that it started.

    Attributes:
        minutes: Since the first look.
        memory: Mebibytes, where what several share counts in parts (PSS).
        handles: Open files and connections.
        threads: Threads.
        processes: Processes.
        keys: Keys of a store; of no other process.
    """

    minutes: float
    memory: dict[str, float]
    handles: dict[str, float]
    threads: dict[str, float]
    processes: dict[str, float]
    keys: dict[str, float]


class Sampler:
    """Looks at a platform."""

    def __init__(self, stack: Stack, stores: dict[str, Redis]) -> None:
        """Look at this one; the stores are its own."""
        self.samples: list[Sample] = []
        self._stack = stack
        self._stores = stores
        self._began = time.monotonic()

    @classmethod
    @asynccontextmanager
    async def looking(cls, stack: Stack) -> AsyncIterator[Sampler]:
        """Look every few seconds, until the block's end."""
        stores = {name: _open(stack.home.path / name / "store.conf") for name in STORES}
        sampler = cls(stack, stores)
        task = asyncio.create_task(sampler._look_on())
        try:
            yield sampler
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for store in stores.values():
                await store.aclose()

    async def _look_on(self) -> None:
        while True:
            self.samples.append(await self._look())
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _look(self) -> Sample:
        state = self._stack.home.read_state()
        assert state is not None
        families = {name: _family(process.pid) for name, process in state.processes.items()}
        keys = {name: float(await store.dbsize()) for name, store in self._stores.items()}
        return Sample(
            minutes=(time.monotonic() - self._began) / 60,
            memory={name: _sum(family, _memory) for name, family in families.items()},
            handles={name: _sum(family, psutil.Process.num_fds) for name, family in families.items()},
            threads={name: _sum(family, psutil.Process.num_threads) for name, family in families.items()},
            processes={name: float(len(family)) for name, family in families.items()},
            keys=keys,
        )


def _family(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _sum(family: list[psutil.Process], measure: Callable[[psutil.Process], float]) -> float:
    """Of all that still live; a tool's sandbox may have gone meanwhile."""
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += measure(process)
    return total


def _memory(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / MEBIBYTE


def _open(configuration: Path) -> Redis:
    """The store that was started with this configuration."""
    told = dict(line.split(" ", 1) for line in configuration.read_text().splitlines())
    return Redis(host=told["bind"], port=int(told["port"]), password=told["requirepass"], socket_timeout=10)
