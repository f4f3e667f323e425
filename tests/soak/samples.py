"""What the processes of a platform hold, looked at again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis.asyncio import Redis

from services.rpc.tasks import end_task
from tests.platform import Stack, total, written_mib

STORES = ("store", "cache")
SAMPLE_SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """What one look found, by process: with all that it started.

    Attributes:
        minutes: Since the first look.
        memory: Mebibytes that were written to; what several share counts in parts (`Pss_Anon`, `Pss_Shmem`).
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
            await end_task(task)
            for store in stores.values():
                await store.aclose()

    async def _look_on(self) -> None:
        while True:
            self.samples.append(await self._look())
            await asyncio.sleep(SAMPLE_SECONDS)

    async def _look(self) -> Sample:
        families = self._stack.families()
        keys = {name: float(await store.dbsize()) for name, store in self._stores.items()}
        return Sample(
            minutes=(time.monotonic() - self._began) / 60,
            memory=_each(families, written_mib),
            handles=_each(families, psutil.Process.num_fds),
            threads=_each(families, psutil.Process.num_threads),
            processes={name: float(len(members)) for name, members in families.items()},
            keys=keys,
        )


def _each(
    families: dict[str, list[psutil.Process]], measure: Callable[[psutil.Process], float]
) -> dict[str, float]:
    return {name: total(members, measure) for name, members in families.items()}


def _open(configuration: Path) -> Redis:
    """The store that was started with this configuration."""
    told = dict(line.split(" ", 1) for line in configuration.read_text().splitlines())
    return Redis(host=told["bind"], port=int(told["port"]), password=told["requirepass"], socket_timeout=10)
