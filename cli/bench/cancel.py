"""`parley bench cancel`: how soon a run that is ended from outside lets go of what it holds."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cli.bench.cuts import (
    SPOKEN,
    STARTED,
    Cut,
    Kind,
    Speakers,
    Times,
    Way,
    cut,
    endless,
    pace_of,
    speaking,
)
from cli.bench.load import percentile
from cli.bench.prompts import bench_question, long_question
from cli.bench.sides import WholePath
from cli.bench.spans import TurnEnds, turn_ends
from cli.bench.tool_cuts import CALLED, tool_settings, tool_times
from cli.bench.visits import EndlessTool, endless_tool
from cli.console import errors
from cli.failures import CommandError, told
from cli.figures import Figure, show_figures
from cli.model import choose_local_model
from parley.inference.v1 import chat_pb2
from parley_client.client import Client

TARGET_MS = 50.0
SPANS_SECONDS = 30.0


@told
def cancel(
    samples: Annotated[int, typer.Option(help="Runs to end at each moment in each way.", min=1)] = 50,
    streams: Annotated[int, typer.Option(help="Streams that speak meanwhile.", min=1)] = 4,
    model: Annotated[str, typer.Option(help="A model's folder.", metavar="PATH")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Measure from a run's end to a free slot: client gone, Cancel and deadline.

    In the queue, while the prompt is read, while the model speaks, and while
    a tool runs. Starts a stack of its own.
    """
    chosen = choose_local_model(model or os.environ.get("PARLEY_INFERENCE_MODEL"))
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        workload = Workload(samples, streams)
        figures = uvloop.run(_measure(Path(chosen.source), Path(scratch), workload))
    show_figures(figures, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many samples of each kind, beside so many streams that speak."""

    samples: int
    streams: int


async def _measure(model: Path, scratch: Path, workload: Workload) -> list[Figure]:
    errors().print("starting the whole path; this takes a while")
    async with turn_ends() as ends, endless_tool() as tool:
        settings = {
            **tool_settings(tool),
            "PARLEY_INFERENCE_OTLP_ENDPOINT": ends.endpoint,
            "PARLEY_INFERENCE_TRACE_RATIO": "1",
            "PARLEY_INFERENCE_MAX_RUNNING_REQUESTS": str(workload.streams + 1),
        }
        async with WholePath.started(model, scratch, settings) as path:
            return await cancel_figures(path.client, ends, tool, workload)


async def cancel_figures(
    client: Client, ends: TurnEnds, tool: EndlessTool, workload: Workload, called: str = CALLED
) -> list[Figure]:
    """Cut runs of a platform that has one seat more than streams that speak, and tells `ends` of its turns.

    Args:
        client: Calls it.
        ends: Hears of its turns.
        tool: What a run waits for.
        workload: How much.
        called: The tool, as the platform has it.
    """
    cuts, times = Cutting(client, workload.samples), Times()
    async with speaking(client, workload.streams) as speakers:
        async with speaking(client, 1):
            await cuts.queued()
        await cuts.reading()
        await cuts.answering()
        try:
            times = await tool_times(client, tool, workload.samples, called)
        except CommandError as error:
            # What was measured before is not lost with it.
            errors().print(f"{error.message} So nothing is told of runs whose tool runs.", style="yellow")
    seats = await cuts.times(ends)
    return figures_of(seats | times, speakers)


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
        request = await long_question(self.client)
        pace = await pace_of(self.client, request)
        half = (pace.spoken - pace.started) / 2
        await self._all(Kind(request, STARTED, half, pace.started + half))

    async def answering(self) -> None:
        """While the model speaks."""
        pace = await pace_of(self.client, _short)
        await self._all(Kind(_short, SPOKEN, 0.0, 2 * pace.spoken + 0.2))

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
    return endless(bench_question(number))


def figures_of(times: Mapping[tuple[str, Way], Sequence[float]], speakers: Speakers) -> list[Figure]:
    """The figures; those of p99 against the limit, which is two of the engine's steps where that is more."""
    step = 1000 * statistics.median(speakers.gaps)
    limit = max(TARGET_MS, 2 * step)
    rows = [
        Figure("load of the machine, over 1 minute", os.getloadavg()[0], ""),
        Figure("a step of the engine, as its streams see it, p50", step),
    ]
    for (moment, way), found in sorted(times.items(), key=lambda each: (each[0][0], each[0][1].value)):
        name = partial("{}, {}, {} times: {}".format, moment, way.value, len(found))
        rows.append(Figure(name("p50"), percentile(found, 0.5)))
        rows.append(Figure(name("p99"), percentile(found, 0.99), target=limit))
    everything = [each for found in times.values() for each in found]
    rows.append(Figure(f"all {len(everything)}: p50", percentile(everything, 0.5)))
    rows.append(Figure(f"all {len(everything)}: p99", percentile(everything, 0.99), target=limit))
    return rows
