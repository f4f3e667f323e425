"""Sums of usage, as plots by day and as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from parley.auth.v1.usage_service_pb2 import UsageSum
from web.administration.money import rounded_price
from web.administration.plot import Plot, plot

MAX_SERIES = 5
"""Names with a colour of their own; what is left goes together."""

OTHERS = "others"

Naming = Callable[[UsageSum], str]
"""What a sum is told apart by."""


@dataclass
class Row:
    """All that one name used."""

    name: str
    requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    tool_calls: int = 0
    cost_micros: int = 0

    def add(self, sum_: UsageSum) -> None:
        """Count a sum in."""
        self.requests += sum_.requests
        self.prompt_tokens += sum_.prompt_tokens
        self.cached_prompt_tokens += sum_.cached_prompt_tokens
        self.completion_tokens += sum_.completion_tokens
        self.tool_calls += sum_.tool_calls
        self.cost_micros += sum_.cost_micros


def days_until(last: date, number: int) -> list[str]:
    """That many days up to the last, as the contract writes them."""
    return [(last - timedelta(days=ago)).isoformat() for ago in reversed(range(number))]


def rows(sums: Iterable[UsageSum], naming: Naming) -> list[Row]:
    """A row for each name, the one with the most tokens first."""
    found: dict[str, Row] = {}
    for sum_ in sums:
        name = naming(sum_)
        found.setdefault(name, Row(name)).add(sum_)
    return sorted(found.values(), key=lambda row: (-row.prompt_tokens - row.completion_tokens, row.name))


def plots(sums: Sequence[UsageSum], days: Sequence[str], naming: Naming) -> list[Plot]:
    """Tokens, requests and cost by day. A name has the same colour in all of them."""
    groups = _groups([row.name for row in rows(sums, naming)])
    measures: Mapping[str, tuple[Callable[[UsageSum], int], Callable[[float], str]]] = {
        "Tokens": (lambda sum_: sum_.prompt_tokens + sum_.completion_tokens, short),
        "Requests": (lambda sum_: sum_.requests, short),
        "Cost": (lambda sum_: sum_.cost_micros, rounded_price),
    }
    return [
        plot(title, days, _series(sums, days, groups, naming, measure), words)
        for title, (measure, words) in measures.items()
    ]


def short(number: float) -> str:
    """A number in few characters: `1,204`, `48.2 k`, `3.1 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            return f"{_one_place(number / (1e3 if letter == 'k' else size))} {letter}"
    return _one_place(number)


def _one_place(number: float) -> str:
    return f"{number:,.1f}".removesuffix(".0")


def _groups(names: Sequence[str]) -> dict[str, str]:
    """What each name is shown under: the first ones under their own, the rest under one."""
    return {name: name if place < MAX_SERIES else OTHERS for place, name in enumerate(names)}


def _series(
    sums: Iterable[UsageSum],
    days: Sequence[str],
    groups: Mapping[str, str],
    naming: Naming,
    measure: Callable[[UsageSum], int],
) -> dict[str, list[float]]:
    """A value for each day, by group; days beyond those asked for are left out."""
    place = {day: index for index, day in enumerate(days)}
    series = {group: [0.0] * len(days) for group in groups.values()}
    for sum_ in sums:
        if sum_.day in place:
            series[groups[naming(sum_)]][place[sum_.day]] += measure(sum_)
    return series
