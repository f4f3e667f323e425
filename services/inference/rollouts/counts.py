"""The store's counts of what variants show, which all replicas add to.

Of each rollout there is a hash for every minute, by which its guardrails are judged, and one for all
of its time, by which variants are compared. A run that a variant answers is remembered for a day, so
that feedback finds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from prometheus_client import Counter
from redis.asyncio import Redis

from services.inference.asking_store import asking_store
from services.inference.rollouts.tally import Sums, Tally, added
from services.inference.runs.registry import Owner
from services.ledger.ledger import awaited

FEEDBACK = Counter(
    "parley_inference_feedback_total", "Thumbs that were given, by their kind: up or down.", ["kind"]
)
MINUTE = 60
MINUTE_LIFE_SECONDS = 2 * 3600
TOTAL_LIFE_SECONDS = 30 * 24 * 3600
RUN_LIFE_SECONDS = 24 * 3600
PREFIX = "parley:inference:rollout:"


@dataclass(frozen=True, slots=True)
class CountedRun:
    """A run that a variant answers."""

    run_id: str
    tenant_id: str
    user_id: str
    rollout_id: str
    variant: str


Additions = Mapping[str, Mapping[str, Sums]]
"""What is added, by rollout and variant."""


class Counts:
    """Counts in a Redis-protocol store. Methods raise `DependencyUnavailable` where it does not answer."""

    def __init__(self, store: Redis) -> None:
        """Count here."""
        self._store = store

    async def add(self, additions: Additions, runs: Iterable[CountedRun] = ()) -> None:
        """Add to the counts of this minute and of all time, and remember runs; all or nothing."""
        async with asking_store(None):
            minute = await self._minute()
            pipeline = self._store.pipeline(transaction=True)
            for rollout_id, variants in additions.items():
                lives = (_minute_key(rollout_id, minute), MINUTE_LIFE_SECONDS)
                for key, life in (lives, (_total_key(rollout_id), TOTAL_LIFE_SECONDS)):
                    for variant, sums in variants.items():
                        for name, number in sums.items():
                            pipeline.hincrbyfloat(key, f"{variant}/{name}", number)
                    pipeline.expire(key, life)
            for run in runs:
                pipeline.set(_run_key(run.run_id), json.dumps(astuple(run)), ex=RUN_LIFE_SECONDS)
            await pipeline.execute()

    async def recent(self, rollout_id: str, minutes: int) -> dict[str, Tally]:
        """The counts of the last minutes by variant, the one that runs included."""
        counted = await self.by_minute(rollout_id, minutes)
        names = {name for _, tallies in counted for name in tallies}
        return {
            name: Tally(added(tallies[name].sums for _, tallies in counted if name in tallies))
            for name in names
        }

    async def by_minute(self, rollout_id: str, minutes: int) -> list[tuple[int, dict[str, Tally]]]:
        """The counts of each of the last minutes by variant; the minutes since 1970, oldest first."""
        async with asking_store(None):
            last = await self._minute()
            wanted = range(last - minutes + 1, last + 1)
            pipeline = self._store.pipeline(transaction=False)
            for minute in wanted:
                pipeline.hgetall(_minute_key(rollout_id, minute))
            found = await pipeline.execute()
        return [(minute, _tallies(fields)) for minute, fields in zip(wanted, found, strict=True)]

    async def total(self, rollout_id: str) -> dict[str, Tally]:
        """The counts of all time by variant."""
        async with asking_store(None):
            return _tallies(await awaited(self._store.hgetall(_total_key(rollout_id))))

    async def run(self, run_id: str, owner: Owner) -> CountedRun | None:
        """A run of an owner that a variant answers; None where there is none, or it is too long ago."""
        async with asking_store(None):
            kept = await self._store.get(_run_key(run_id))
        run = CountedRun(*json.loads(kept)) if kept is not None else None
        return run if run is not None and Owner(run.tenant_id, run.user_id) == owner else None

    async def give_feedback(self, run: CountedRun, verdict: str) -> None:
        """Count `up` or `down` for a run, in place of what was said of it before."""
        async with asking_store(None):
            key = f"{_run_key(run.run_id)}:verdict"
            before = await self._store.set(key, verdict, ex=RUN_LIFE_SECONDS, get=True)
        before = before.decode() if isinstance(before, bytes) else before
        if before != verdict:
            changes = {verdict: 1.0} | ({str(before): -1.0} if before else {})
            await self.add({run.rollout_id: {run.variant: changes}})
            FEEDBACK.labels(verdict).inc()

    async def _minute(self) -> int:
        """The minute by the store's clock, which all replicas have in common."""
        seconds, _ = await self._store.time()
        return int(seconds) // MINUTE


def _tallies(fields: Mapping[bytes, bytes]) -> dict[str, Tally]:
    """What a hash holds, by variant."""
    sums: dict[str, dict[str, float]] = {}
    for field, number in fields.items():
        variant, _, name = field.decode().partition("/")
        sums.setdefault(variant, {})[name] = float(number)
    return {variant: Tally(each) for variant, each in sums.items()}


# The braces keep the hashes of a rollout in one slot of a cluster.
def _minute_key(rollout_id: str, minute: int) -> str:
    return f"{PREFIX}{{{rollout_id}}}:{minute}"


def _total_key(rollout_id: str) -> str:
    return f"{PREFIX}{{{rollout_id}}}:total"


def _run_key(run_id: str) -> str:
    return f"{PREFIX}run:{run_id}"
