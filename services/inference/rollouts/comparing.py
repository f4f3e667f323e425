"""What was measured of variants, beside the stable one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from parley.inference.v1 import rollout_pb2
from services.inference.rollouts import intervals
from services.inference.rollouts.counts import MINUTE
from services.inference.rollouts.intervals import Interval
from services.inference.rollouts.tally import P95, Tally

Minutes = Sequence[tuple[int, dict[str, Tally]]]


class Figure(Protocol):
    """Something that is measured."""

    @property
    def kind(self) -> rollout_pb2.VariantFigure.ValueType:
        """What the contract calls it."""
        ...

    @property
    def more_is_better(self) -> bool:
        """Whether a greater value is the better one."""
        ...

    def samples(self, tally: Tally) -> int:
        """By how much it is measured; 0 where nothing was."""
        ...

    def value(self, tally: Tally) -> float:
        """What was measured."""
        ...

    def interval(self, tally: Tally) -> Interval | None:
        """Where the true value lies."""
        ...

    def difference(self, tally: Tally, stable: Tally) -> Interval | None:
        """Where the true difference lies."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """A share of things that are bad."""

    kind: rollout_pb2.VariantFigure.ValueType
    part: str
    whole: str
    more_is_better: bool = False

    def samples(self, tally: Tally) -> int:
        """See `Figure`."""
        return tally.count(self.whole)

    def value(self, tally: Tally) -> float:
        """See `Figure`."""
        return tally.share(self.part, self.whole)

    def interval(self, tally: Tally) -> Interval | None:
        """See `Figure`."""
        return intervals.wilson(*self._counts(tally))

    def difference(self, tally: Tally, stable: Tally) -> Interval | None:
        """See `Figure`."""
        return intervals.newcombe(*self._counts(tally), *self._counts(stable))

    def _counts(self, tally: Tally) -> tuple[int, int]:
        whole = tally.count(self.whole)
        return min(tally.count(self.part), whole), whole


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of what runs measured."""

    kind: rollout_pb2.VariantFigure.ValueType
    name: str
    more_is_better: bool

    def samples(self, tally: Tally) -> int:
        """See `Figure`."""
        return round(tally.moments(self.name).count)

    def value(self, tally: Tally) -> float:
        """See `Figure`."""
        return tally.moments(self.name).mean

    def interval(self, tally: Tally) -> Interval | None:
        """See `Figure`."""
        return intervals.student(tally.moments(self.name))

    def difference(self, tally: Tally, stable: Tally) -> Interval | None:
        """See `Figure`."""
        return intervals.welch(tally.moments(self.name), stable.moments(self.name))


@dataclass(frozen=True, slots=True)
class FirstTokenP95:
    """The time to the first token that one of twenty runs takes longer than."""

    kind: rollout_pb2.VariantFigure.ValueType = rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95
    more_is_better: bool = False

    def samples(self, tally: Tally) -> int:
        """See `Figure`."""
        return tally.count("first.count")

    def value(self, tally: Tally) -> float:
        """See `Figure`."""
        return tally.first_token(P95)

    def interval(self, tally: Tally) -> Interval | None:
        """See `Figure`."""
        if self.samples(tally) < intervals.MIN_MEASURED:
            return None
        low, high = intervals.ranks(P95, self.samples(tally))
        return Interval(tally.first_token(low), tally.first_token(high))

    def difference(self, tally: Tally, stable: Tally) -> Interval | None:
        """There is none for percentiles."""
        return None


FIGURES: tuple[Figure, ...] = (
    Share(rollout_pb2.VARIANT_FIGURE_ERROR_RATE, "errors", "runs"),
    Mean(rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_MEAN, "first", more_is_better=False),
    FirstTokenP95(),
    Mean(rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND, "speed", more_is_better=True),
    Share(rollout_pb2.VARIANT_FIGURE_TOOL_FAILURE_RATE, "call_failures", "calls"),
    Share(rollout_pb2.VARIANT_FIGURE_THUMBS_DOWN_RATE, "down", "feedback"),
)


def compared(
    rollout: rollout_pb2.Rollout, total: dict[str, Tally], minutes: Minutes
) -> Iterator[rollout_pb2.MeasuredVariant]:
    """What was measured of each variant of a rollout."""
    stable = total.get(rollout.stable_variant_name, Tally())
    for variant in rollout.variants:
        tally = total.get(variant.name, Tally())
        beside = None if variant.name == rollout.stable_variant_name else stable
        yield rollout_pb2.MeasuredVariant(
            variant_name=variant.name,
            runs=tally.count("runs"),
            figures=[_measured(figure, tally, beside) for figure in FIGURES if figure.samples(tally)],
            minutes=(_minute(minute, each[variant.name]) for minute, each in minutes if variant.name in each),
        )


def _measured(figure: Figure, tally: Tally, stable: Tally | None) -> rollout_pb2.MeasuredFigure:
    measured = _plain(figure, tally)
    if (interval := figure.interval(tally)) is not None:
        measured.interval.CopyFrom(_interval(interval))
    if stable is not None and (between := figure.difference(tally, stable)) is not None:
        measured.difference.CopyFrom(
            rollout_pb2.FigureDifference(
                value=measured.value - figure.value(stable),
                interval=_interval(between),
                verdict=_verdict(between, more_is_better=figure.more_is_better),
            )
        )
    return measured


def _minute(minute: int, tally: Tally) -> rollout_pb2.MeasuredMinute:
    measured = rollout_pb2.MeasuredMinute(
        runs=tally.count("runs"),
        figures=[_plain(figure, tally) for figure in FIGURES if figure.samples(tally)],
    )
    measured.time.FromDatetime(datetime.fromtimestamp(minute * MINUTE, UTC))
    return measured


def _plain(figure: Figure, tally: Tally) -> rollout_pb2.MeasuredFigure:
    return rollout_pb2.MeasuredFigure(
        figure=figure.kind, value=figure.value(tally), samples=figure.samples(tally)
    )


def _interval(given: Interval) -> rollout_pb2.ConfidenceInterval:
    return rollout_pb2.ConfidenceInterval(low=given.low, high=given.high)


def _verdict(between: Interval, *, more_is_better: bool) -> rollout_pb2.FigureVerdict.ValueType:
    if between.low <= 0 <= between.high:
        return rollout_pb2.FIGURE_VERDICT_UNDECIDED
    better = (between.low > 0) is more_is_better
    return rollout_pb2.FIGURE_VERDICT_BETTER if better else rollout_pb2.FIGURE_VERDICT_WORSE
