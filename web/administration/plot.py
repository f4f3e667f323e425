"""Bars by day, worked out to the pixel; the template draws them as SVG.

The page needs no library for this: a few rectangles weigh nothing, follow the
page's colours in light and dark, and can be read out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 150
LEFT, TOP, BOTTOM = 40, 8, 18
"""Room for the numbers at the side and the days below."""

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Bar:
    """A piece of a column: the part of one name."""

    colour: int
    y: float
    height: float


@dataclass(frozen=True)
class Column:
    """A day, with its words for those who point at it."""

    x: float
    width: float
    words: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Line:
    """A line across, with its number."""

    y: float
    words: str


@dataclass(frozen=True)
class Plot:
    """A picture of one measure.

    Attributes:
        total: Over all days, in words.
        legend: The names, in the order of their colours; empty where there is but one.
        days: The first and the last day.
    """

    title: str
    total: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    legend: tuple[str, ...]
    days: tuple[str, str]


def plot(
    title: str,
    days: Sequence[str],
    series: Mapping[str, Sequence[float]],
    words: Callable[[float], str],
) -> Plot:
    """Work a plot out.

    Args:
        title: What is measured.
        days: The days, one after the other; at least one.
        series: A value for each day, by name, in the order of the colours.
        words: A value for people.
    """
    sums = [sum(values) for values in zip(*series.values(), strict=True)] or [0.0] * len(days)
    top = nice_top(max(sums))
    return Plot(
        title=title,
        total=words(sum(sums)),
        columns=_columns(days, series, top, words),
        lines=tuple(Line(_y(share * top, top), words(share * top)) for share in (0, 0.5, 1)),
        legend=tuple(series) if len(series) > 1 else (),
        days=(days[0], days[-1]),
    )


def nice_top(value: float) -> float:
    """A round number that is not below the value."""
    if value <= 0:
        return 1
    magnitude = 1.0
    while magnitude * 10 <= value:
        magnitude *= 10
    while magnitude > value:
        magnitude /= 10
    return next(step * magnitude for step in _STEPS if step * magnitude >= value)


def _columns(
    days: Sequence[str], series: Mapping[str, Sequence[float]], top: float, words: Callable[[float], str]
) -> tuple[Column, ...]:
    room = (WIDTH - LEFT) / len(days)
    return tuple(
        Column(
            x=round(LEFT + index * room, 2),
            width=round(room * 0.78, 2),
            words=_words(day, {name: values[index] for name, values in series.items()}, words),
            bars=_bars([values[index] for values in series.values()], top),
        )
        for index, day in enumerate(days)
    )


def _bars(values: Sequence[float], top: float) -> tuple[Bar, ...]:
    """One upon the other."""
    bars, below = [], 0.0
    for colour, value in enumerate(values):
        if value > 0:
            y = _y(below + value, top)
            bars.append(Bar(colour, y, round(_y(below, top) - y, 2)))
        below += value
    return tuple(bars)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP), 2)


def _words(day: str, values: Mapping[str, float], words: Callable[[float], str]) -> str:
    """A day's sum, and its parts where there are several."""
    parts = [f"{name} {words(value)}" for name, value in values.items() if value > 0]
    total = f"{day}: {words(sum(values.values()))}"
    return f"{total} ({', '.join(parts)})" if len(values) > 1 and parts else total
