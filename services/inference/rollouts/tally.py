"""What the runs of a variant show together, as sums that can be added up from replica to replica."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.inference.rollouts.samples import Sample

# Times to the first token lie in buckets, each a tenth wider than the one before.
FIRST_BUCKET_SECONDS = 0.001
BUCKET_GROWTH = 1.1
LAST_BUCKET = 140
P95 = 0.95

Sums = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Moments:
    """Number, sum and sum of squares of what was measured."""

    count: float
    total: float
    squares: float

    @property
    def mean(self) -> float:
        """0 where nothing was measured."""
        return self.total / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Of the sample; 0 where there are not two."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.total * self.mean) / (self.count - 1))


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums by name; one that is not there is 0."""

    sums: Sums = field(default_factory=dict)

    def count(self, name: str) -> int:
        """A number of things; `feedback` is that of the thumbs, up and down."""
        if name == "feedback":
            return self.count("up") + self.count("down")
        return max(0, round(self.sums.get(name, 0)))

    def moments(self, name: str) -> Moments:
        """What was measured of `first` (seconds) or `speed` (tokens a second)."""
        return Moments(*(self.sums.get(f"{name}.{part}", 0.0) for part in ("count", "total", "squares")))

    def share(self, part: str, whole: str) -> float:
        """Of a number of things, the share that is a part of it."""
        return min(1.0, self.count(part) / whole_count) if (whole_count := self.count(whole)) else 0.0

    def first_token(self, quantile: float) -> float:
        """Seconds until that share of the runs had said something, within 5 %; 0 where none did."""
        counts = sorted(
            (int(name.rpartition(".")[2]), count)
            for name, count in self.sums.items()
            if name.startswith("first.bucket.")
        )
        left = quantile * sum(count for _, count in counts)
        for bucket, count in counts:
            left -= count
            if left <= 0:
                return FIRST_BUCKET_SECONDS * math.pow(BUCKET_GROWTH, bucket + 0.5)
        return 0.0


def sums_of(sample: Sample) -> dict[str, float]:
    """What a run adds."""
    sums: dict[str, float] = {"runs": 1}
    if sample.failed:
        sums["errors"] = 1
    if sample.tool_calls:
        sums |= {"calls": sample.tool_calls, "call_failures": sample.tool_failures}
    if (seconds := sample.first_token_seconds) is not None:
        sums |= _measured("first", seconds) | {f"first.bucket.{_bucket(seconds)}": 1}
    if (speed := sample.tokens_per_second) is not None:
        sums |= _measured("speed", speed)
    return sums


def added(parts: Iterable[Sums]) -> dict[str, float]:
    """Sums added up."""
    total: dict[str, float] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0.0) + number
    return total


def _measured(name: str, value: float) -> dict[str, float]:
    return {f"{name}.count": 1, f"{name}.total": value, f"{name}.squares": value * value}


def _bucket(seconds: float) -> int:
    place = math.log(max(seconds, FIRST_BUCKET_SECONDS) / FIRST_BUCKET_SECONDS, BUCKET_GROWTH)
    return min(LAST_BUCKET, int(place))
