"""Whether what was looked at stayed as it was, and a plot of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tests.soak.samples import Sample

EARLY, LATE = (0.2, 0.4), (0.8, 1.0)
"""Shares of the time that are compared; the first fifth is for what fills once, such as pools and caches."""


@dataclass(frozen=True)
class Kind:
    """Something that must not grow.

    Attributes:
        name: The attribute of samples.
        unit: For people.
        share: By how much it may grow, of what it was.
        slack: By how much it may grow in any case.
    """

    name: str
    unit: str
    share: float
    slack: float


KINDS = (
    Kind("memory", "MiB", 0.10, 16),
    Kind("handles", "open files and connections", 0.10, 8),
    Kind("threads", "threads", 0.0, 4),
    Kind("processes", "processes", 0.0, 2),
    Kind("keys", "keys", 0.20, 50),
)


@dataclass(frozen=True)
class Growth:
    """How something changed.

    Attributes:
        kind: What.
        process: Of which process.
        early: Its mean in the earlier share of the time.
        late: The same in the later.
    """

    kind: Kind
    process: str
    early: float
    late: float

    @property
    def is_flat(self) -> bool:
        """Whether it is within its bounds."""
        return self.late - self.early <= max(self.kind.slack, self.early * self.kind.share)


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """How each kind changed, of each process."""
    early, late = (_within(samples, *share) for share in (EARLY, LATE))
    return [
        Growth(kind, process, _mean(early, kind, process), _mean(late, kind, process))
        for kind in KINDS
        for process in getattr(samples[0], kind.name)
    ]


def _within(samples: Sequence[Sample], first: float, last: float) -> list[Sample]:
    end = samples[-1].minutes
    return [sample for sample in samples if first * end <= sample.minutes <= last * end]


def _mean(samples: Sequence[Sample], kind: Kind, process: str) -> float:
    return mean(getattr(sample, kind.name)[process] for sample in samples)


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Draw each kind over time, a line a process."""
    from matplotlib import pyplot

    figure, rooms = pyplot.subplots(len(KINDS), figsize=(8, 12), sharex=True, layout="constrained")
    minutes = [sample.minutes for sample in samples]
    for axes, kind in zip(rooms, KINDS, strict=True):
        for process in getattr(samples[0], kind.name):
            values = [getattr(sample, kind.name)[process] for sample in samples]
            axes.plot(minutes, values, linewidth=1, label=process)
        axes.set(ylabel=kind.unit, ylim=(0, None))
        axes.grid(visible=True, alpha=0.3)
    rooms[0].legend(ncols=4, fontsize="small")
    rooms[-1].set(xlabel="minutes")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
