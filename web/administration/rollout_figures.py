"""What was measured of variants, as ranges beside each other and as bars by minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parley.inference.v1 import rollout_pb2
from web.administration.plot import Plot, plot
from web.administration.usage_figures import short

WIDTH = 160
_VERDICTS = {rollout_pb2.FIGURE_VERDICT_BETTER: "better", rollout_pb2.FIGURE_VERDICT_WORSE: "worse"}
_TITLES = {
    rollout_pb2.VARIANT_FIGURE_ERROR_RATE: "Failed runs",
    rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_MEAN: "Time to the first token",
    rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95: "95 % of the first tokens within",
    rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND: "Tokens a second",
    rollout_pb2.VARIANT_FIGURE_TOOL_FAILURE_RATE: "Failed calls of tools",
    rollout_pb2.VARIANT_FIGURE_THUMBS_DOWN_RATE: "Thumbs down",
}
_SECONDS = (rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_MEAN, rollout_pb2.VARIANT_FIGURE_FIRST_TOKEN_P95)

Measured = Sequence[rollout_pb2.MeasuredVariant]


@dataclass(frozen=True)
class Range:
    """A variant's value with the range of its confidence, to the pixel.

    Attributes:
        name: The variant.
        colour: Its number among the colours.
        words: Value and range for people.
        samples: By how much it was measured.
        verdict: Whether it is better or worse than the stable one; empty where that is open.
        low: Where the range begins; the value itself where there is none.
        at: Where the value lies.
        high: Where the range ends.
    """

    name: str
    colour: int
    words: str
    samples: int
    verdict: str
    low: float
    at: float
    high: float


@dataclass(frozen=True)
class Figure:
    """One figure of all variants, on one scale."""

    title: str
    ranges: tuple[Range, ...]


def figures(variants: Measured) -> list[Figure]:
    """What was measured, figure by figure."""
    return [figure for kind in _TITLES if (figure := _figure(kind, variants)).ranges]


def _figure(kind: rollout_pb2.VariantFigure.ValueType, variants: Measured) -> Figure:
    found = [
        (place, variant.variant_name, each)
        for place, variant in enumerate(variants)
        for each in variant.figures
        if each.figure == kind
    ]
    top = max((_interval(each)[1] for *_, each in found), default=0.0) or 1.0
    return Figure(_TITLES[kind], tuple(_range(kind, place, name, each, top) for place, name, each in found))


def _range(
    kind: rollout_pb2.VariantFigure.ValueType,
    place: int,
    name: str,
    each: rollout_pb2.MeasuredFigure,
    top: float,
) -> Range:
    low, high = _interval(each)
    words = _text(kind, each.value)
    if each.HasField("interval"):
        words = f"{words} ({_text(kind, low)} to {_text(kind, high)})"
    verdict = _VERDICTS.get(each.difference.verdict, "") if each.HasField("difference") else ""
    places = (round(max(0.0, value) / top * WIDTH, 2) for value in (low, each.value, high))
    return Range(name, place, words, each.samples, verdict, *places)


def _interval(each: rollout_pb2.MeasuredFigure) -> tuple[float, float]:
    """Where the true value lies, as far as that is known."""
    return (each.interval.low, each.interval.high) if each.HasField("interval") else (each.value, each.value)


def _text(kind: rollout_pb2.VariantFigure.ValueType, value: float) -> str:
    if kind in _SECONDS:
        return f"{value:.3f} s"
    if kind == rollout_pb2.VARIANT_FIGURE_TOKENS_PER_SECOND:
        return f"{value:.1f}"
    return f"{100 * value:.1f} %"


def plots(variants: Measured, minutes: int) -> list[Plot]:
    """Runs and failed runs of the last minutes; a variant has the same colour in both."""
    if not any(variant.minutes for variant in variants):
        return []
    last = datetime.now(UTC).replace(second=0, microsecond=0)
    times = [(last - timedelta(minutes=ago)).strftime("%H:%M") for ago in reversed(range(minutes))]
    measures: dict[str, Callable[[rollout_pb2.MeasuredMinute], float]] = {
        "Runs": lambda minute: minute.runs,
        "Failed runs": _failed,
    }
    return [
        plot(title, times, {each.variant_name: _series(each.minutes, times, of) for each in variants}, short)
        for title, of in measures.items()
    ]


def _series(
    measured: Iterable[rollout_pb2.MeasuredMinute],
    times: Sequence[str],
    of: Callable[[rollout_pb2.MeasuredMinute], float],
) -> list[float]:
    """A value for each of the minutes; what lies beyond them is left out."""
    found = {minute.time.ToDatetime(UTC).strftime("%H:%M"): of(minute) for minute in measured}
    return [found.get(time, 0.0) for time in times]


def _failed(minute: rollout_pb2.MeasuredMinute) -> float:
    rates = (each.value for each in minute.figures if each.figure == rollout_pb2.VARIANT_FIGURE_ERROR_RATE)
    return round(next(rates, 0.0) * minute.runs)
