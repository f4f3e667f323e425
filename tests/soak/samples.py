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

from services.rpc.tasks import end_task
from tests.platform import Stack, family

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
        state = self._stack.home.read_state()
        assert state is not None
        roots = {name: psutil.Process(process.pid) for name, process in state.processes.items()}
        families = {name: family(root) for name, root in roots.items()}
        keys = {name: float(await store.dbsize()) for name, store in self._stores.items()}
        return Sample(
            minutes=(time.monotonic() - self._began) / 60,
            memory=_each(families, _memory),
            handles=_each(families, psutil.Process.num_fds),
            threads=_each(families, psutil.Process.num_threads),
            processes={name: float(len(members)) for name, members in families.items()},
            keys=keys,
        )


Measure = Callable[[psutil.Process], float]


def _each(families: dict[str, list[psutil.Process]], measure: Measure) -> dict[str, float]:
    return {name: _sum(members, measure) for name, members in families.items()}


def _sum(members: list[psutil.Process], measure: Measure) -> float:
    """Of all that still live; a tool's sandbox may have gone meanwhile."""
    total = 0.0
    for process in members:
        with suppress(psutil.NoSuchProcess):
            total += measure(process)
    return total


def _memory(process: psutil.Process) -> float:
    """What it has written to; pages of files come and go with what else runs on the machine."""
    try:
        told = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it is gone
        return 0.0
    sizes = dict(line.split(":", 1) for line in told.splitlines()[1:])
    return sum(float(sizes[name].removesuffix("kB")) for name in ("Pss_Anon", "Pss_Shmem")) / 1024


def _open(configuration: Path) -> Redis:
    """The store that was started with this configuration."""
    told = dict(line.split(" ", 1) for line in configuration.read_text().splitlines())
    return Redis(host=told["bind"], port=int(told["port"]), password=told["requirepass"], socket_timeout=10)
