"""What this replica saw of variants, on its way to the store.

Chats only add numbers up in memory; a beat takes them away. While the store is away they wait, and
there are no more of them for that: they are sums.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from services.inference.beat import beating
from services.inference.rollouts.counts import CountedRun, Counts
from services.inference.rollouts.samples import Sample
from services.inference.rollouts.tally import added, sums_of
from services.rpc.errors import ServiceError

LAST_SECONDS = 2.0
MOST_RUNS = 10_000
MOST_ROLLOUTS = 1_000

Pending = dict[str, dict[str, dict[str, float]]]


class SampleBook:
    """Samples of variants, and the runs that feedback may be given for."""

    def __init__(self) -> None:
        self._pending: Pending = {}
        self._runs: deque[CountedRun] = deque(maxlen=MOST_RUNS)

    def began(self, run: CountedRun) -> None:
        """Note that a run began."""
        self._runs.append(run)

    def take(self, rollout_id: str, variant: str, sample: Sample) -> None:
        """Note what a run of a variant shows."""
        if rollout_id not in self._pending and len(self._pending) >= MOST_ROLLOUTS:
            return
        variants = self._pending.setdefault(rollout_id, {})
        variants[variant] = added((variants.get(variant, {}), sums_of(sample)))

    @asynccontextmanager
    async def keeping(self, counts: Counts) -> AsyncIterator[None]:
        """Bring to the store what is noted, until the block's end, through any trouble of it."""
        try:
            async with beating(
                partial(self.flush, counts),
                "rollout-samples",
                waits="samples of variants wait",
                failed="samples of variants were not counted",
            ):
                yield
        finally:
            with suppress(ServiceError, TimeoutError):
                async with asyncio.timeout(LAST_SECONDS):
                    await self.flush(counts)

    async def flush(self, counts: Counts) -> None:
        """Bring what is noted to the store, where there is anything.

        Raises:
            DependencyUnavailable: The store does not answer; what is noted stays.
        """
        pending, runs = self._pending, list(self._runs)
        if not pending and not runs:
            return
        self._pending = {}
        self._runs.clear()
        try:
            await counts.add(pending, runs)
        except BaseException:
            self._put_back(pending, runs)
            raise

    def _put_back(self, pending: Pending, runs: list[CountedRun]) -> None:
        """Have it wait with what came meanwhile."""
        for rollout_id, variants in pending.items():
            kept = self._pending.setdefault(rollout_id, {})
            for variant, sums in variants.items():
                kept[variant] = added((kept.get(variant, {}), sums))
        meanwhile = list(self._runs)
        self._runs.clear()
        self._runs.extend([*runs, *meanwhile])
