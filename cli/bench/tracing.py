"""`parley bench tracing`: what traces cost, in tokens a second."""

from __future__ import annotations

import statistics
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from cli.bench.answering import by_turns
from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.place import JsonOption, ModelOption, Place, show_measured
from cli.bench.spans import turn_ends
from cli.failures import told

COST_TARGET = 3.0
TRACED = ("EDGE", "AUTH", "TOOLS", "INFERENCE")
SECONDS = 3600.0


@told
def tracing(
    streams: Annotated[int, typer.Option(help="Parallel streams.", min=1)] = 16,
    rounds: Annotated[int, typer.Option(help="Rounds; 5 or more for a figure to rely on.", min=1)] = 10,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2, max=100_000)] = 128,
    ratio: Annotated[float, typer.Option(help="Share of the calls traced.", min=0, max=1)] = 1.0,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Compare a stack whose processes send traces to a collector with one that has none, by turns.

    Starts both stacks, and the collector, on this machine.
    """
    measure = partial(_measure, streams, rounds, tokens, ratio)
    show_measured(measure, model, server=False, as_json=as_json)


async def _measure(
    streams: int, rounds: int, tokens: int, ratio: float, place: Place
) -> AsyncGenerator[Figure, None]:
    async with AsyncExitStack() as stack:
        ends = await stack.enter_async_context(turn_ends())
        settings = {f"PARLEY_{each}_OTLP_ENDPOINT": ends.endpoint for each in TRACED}
        settings |= {f"PARLEY_{each}_TRACE_RATIO": str(ratio) for each in TRACED}
        plain = await stack.enter_async_context(_within(place, "plain").path())
        traced = await stack.enter_async_context(_within(place, "traced").path(settings))
        await stack.enter_async_context(within(SECONDS, "rounds of both stacks"))
        found = await by_turns({"plain": plain, "traced": traced}, streams, tokens, rounds)
    rates = {name: [each.tokens_per_second for each in sides] for name, sides in found.items()}
    for figure in figures_of(streams, ratio, rates["plain"], rates["traced"]):
        yield figure


def figures_of(streams: int, ratio: float, plain: Sequence[float], traced: Sequence[float]) -> list[Figure]:
    """The figures, from the tokens per second of each round."""
    costs = [100 * (1 - told / silent) for silent, told in zip(plain, traced, strict=True)]
    return [
        Figure(f"{streams} streams without traces", statistics.median(plain), "tokens/s"),
        Figure(f"{streams} streams, {ratio:.0%} of them traced", statistics.median(traced), "tokens/s"),
        Figure("tracing costs, median of the rounds", statistics.median(costs), "%", COST_TARGET),
    ]


def _within(place: Place, name: str) -> Place:
    """A place of its own, for a stack beside another."""
    folder = place.scratch / name
    folder.mkdir()
    return replace(place, scratch=folder)
