"""`parley bench cancel`: how soon a run that is ended from outside lets go of what it holds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import typer

from cli.bench.cuts import STARTED, Cut, Kind, Times, Way, cut, pace_of
from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.load import percentile
from cli.bench.place import JsonOption, ModelOption, Place, ServerOption, beside, show_measured
from cli.bench.prompts import bench_question, long_questions, long_text
from cli.bench.seats import Held
from cli.bench.sides import TEXT, WholePath, chat_request
from cli.bench.spans import TurnEnds, turn_ends
from cli.bench.speakers import speaking
from cli.bench.streams import Ask
from cli.bench.tool_cuts import CALLED, tool_settings, tool_times
from cli.bench.visits import EndlessTool, endless_tool
from cli.console import errors
from cli.failures import CommandError, told
from parley.inference.v1 import chat_pb2
from parley_client.client import Client
from parley_client.errors import ParleyError

TARGET_MS = 50.0
SPANS_SECONDS = 30.0
CUTS_SECONDS = 1800.0
"""For all runs that are ended at one moment."""


@told
def cancel(
    samples: Annotated[int, typer.Option(help="Runs to end at each moment in each way.", min=1)] = 50,
    streams: Annotated[int, typer.Option(help="Streams that speak meanwhile.", min=1)] = 4,
    server: ServerOption = True,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Measure from a run's end to a free slot: client gone, Cancel and deadline.

    In the queue, while the prompt is read, while the model speaks, and while
    a tool runs. Then, of whole path, engine alone and vLLM's own server alike,
    from leaving a stream until the engine no longer counts it. Starts a stack of its own.
    """
    show_measured(partial(_measure, Workload(samples, streams)), model, server=server, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many samples of each kind, beside so many streams that speak."""

    samples: int
    streams: int


async def _measure(workload: Workload, place: Place) -> AsyncGenerator[Figure, None]:
    seats = workload.streams + 1
    async with turn_ends() as ends, endless_tool() as tool:
        traces = {"otlp_endpoint": ends.endpoint, "trace_ratio": 1}
        async with place.path(tool_settings(tool), **traces, max_running_requests=seats) as path:
            for figure in await cancel_figures(path, ends, tool, workload):
                yield figure
            questions = await long_questions(path.client)
            async with within(CUTS_SECONDS, "streams that were left at the edge"):
                ours = await path.cuts(workload.streams, workload.samples, questions)
    for figure in held_figures("whole path", ours, ours):
        yield figure
    for name, start in place.baselines(seats=seats).items():
        async with start() as side, within(CUTS_SECONDS, f"streams that were left, of the {name}"):
            theirs = await side.cuts(workload.streams, workload.samples, questions)
        for figure in held_figures(name, theirs, ours):
            yield figure


async def cancel_figures(
    path: WholePath, ends: TurnEnds, tool: EndlessTool, workload: Workload, called: str = CALLED
) -> list[Figure]:
    """Cut runs of a platform that has one seat more than streams that speak, and tells `ends` of its turns.

    Args:
        path: Calls it.
        ends: Hears of its turns.
        tool: What a run waits for.
        workload: How much.
        called: The tool, as the platform has it.
    """
    cuts, times = Cutting(path.client, workload.samples), Times()
    async with speaking(path, workload.streams) as speakers:
        async with _going_on("in the queue"), speaking(path, 1):
            await cuts.queued()
        async with _going_on("whose prompt is read"):
            await cuts.reading()
        async with _going_on("that speak"):
            await cuts.answering()
        async with _going_on("whose tool runs"):
            times = await tool_times(path.client, tool, workload.samples, called)
    seats = await cuts.times(ends)
    return figures_of(seats | times, speakers.gaps)


@asynccontextmanager
async def _going_on(which: str) -> AsyncIterator[None]:
    """What was measured before is not lost with these runs, and what comes after them is measured."""
    try:
        async with within(CUTS_SECONDS, f"runs {which}"):
            yield
    except (CommandError, ParleyError) as error:
        message = error.message if isinstance(error, CommandError) else str(error)
        errors().print(f"{message} So not all is told of runs {which}.", style="yellow")


@dataclass
class Cutting:
    """Runs cut at the engine, one after another."""

    client: Client
    samples: int
    _cuts: list[tuple[Way, Cut]] = field(default_factory=list)

    async def queued(self) -> None:
        """While no seat is free."""
        await self._all(Kind(_short, STARTED, pause=0.05, deadline=0.5))

    async def reading(self) -> None:
        """While the engine reads a prompt, about the middle of it."""
        questions = await long_questions(self.client)

        def request(number: int) -> chat_pb2.ChatRequest:
            return chat_request(Ask(long_text(number, questions)))

        pace = await pace_of(self.client, request)
        half = (pace.spoken - pace.started) / 2
        await self._all(Kind(request, STARTED, half, pace.started + half))

    async def answering(self) -> None:
        """While the model speaks."""
        pace = await pace_of(self.client, _short)
        await self._all(Kind(_short, TEXT, 0.0, 2 * pace.spoken + 0.2))

    async def _all(self, kind: Kind) -> None:
        for _ in range(self.samples):
            for way in Way:
                self._cuts.append((way, await cut(self.client, kind, len(self._cuts), way)))

    async def times(self, ends: TurnEnds) -> Times:
        """How long each seat was held after its run's end, by the phase that was really cut."""
        heard = await ends.of({each.run_id for _, each in self._cuts if each.run_id}, SPANS_SECONDS)
        found: Times = defaultdict(list)
        for way, each in self._cuts:
            if turn := heard.get(each.run_id):
                found[turn.phase, way].append(1000 * (turn.seconds - each.seconds))
        return found


def _short(number: int) -> chat_pb2.ChatRequest:
    return chat_request(Ask(bench_question(number)))


def figures_of(times: Mapping[tuple[str, Way], Sequence[float]], gaps: Sequence[float]) -> list[Figure]:
    """The figures; those of p99 against the limit, which is two of the engine's steps where that is more.

    Args:
        times: Milliseconds from each run's end, by what was cut and how.
        gaps: Seconds between the texts of those that spoke meanwhile.
    """
    step = 1000 * statistics.median(gaps)
    limit = max(TARGET_MS, 2 * step)
    rows = [Figure("a step of the engine, as its streams see it, p50", step)]
    for (moment, way), found in sorted(times.items(), key=lambda each: (each[0][0], each[0][1].value)):
        name = partial("{}, {}, {} times: {}".format, moment, way.value, len(found))
        rows.append(Figure(name("p50"), percentile(found, 0.5)))
        rows.append(Figure(name("p99"), percentile(found, 0.99), target=limit))
    everything = [each for found in times.values() for each in found]
    rows.append(Figure(f"all {len(everything)}: p50", percentile(everything, 0.5)))
    rows.append(Figure(f"all {len(everything)}: p99", percentile(everything, 0.99), target=limit))
    return rows


def held_figures(name: str, theirs: Held, ours: Held) -> list[Figure]:
    """How long an engine counted streams that were left; of a side that is not the path beside the path's."""
    rows = []
    moments = (("prompt read", theirs.reading, ours.reading), ("speaking", theirs.speaking, ours.speaking))
    for moment, found, path in moments:
        for share in (0.5, 0.99):
            what = f"counted after its client left, {moment}, p{100 * share:g}"
            value = percentile(found, share)
            if theirs is ours:
                rows.append(Figure(f"{name}: {what}", value))
            else:
                rows += beside(name, what, value, percentile(path, share))
    # Several texts that arrive at once would make a median of nothing.
    rows.append(Figure(f"{name}: a step of the engine, on average", statistics.mean(theirs.gaps)))
    rows.append(Figure(f"{name}: from one look at the count to the next, p50", percentile(theirs.looks, 0.5)))
    return rows
