"""`parley bench cancel`: how soon a run that is ended from outside lets go of what it holds."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cli.bench_cuts import (
    SPOKEN,
    STARTED,
    Cut,
    Kind,
    Speakers,
    Way,
    cut,
    end,
    endless,
    outlived,
    pace_of,
    speaking,
)
from cli.bench_prompts import bench_question, long_question
from cli.bench_sides import WholePath
from cli.bench_spans import TurnEnds, turn_ends
from cli.bench_visits import VISIT_SECONDS, EndlessServer, Visit, endless_server
from cli.console import errors
from cli.failures import CommandError, told
from cli.figures import Figure, show_figures
from cli.load import percentile
from cli.model import choose_local_model
from parley.inference.v1 import chat_pb2
from parley_client.client import Client, question

TARGET_MS = 50.0
SPANS_SECONDS = 30.0
TOOL = "web_search"
"""Its server is named by the operator, so that the bench's own can see how long it is waited for."""

Times = dict[tuple[str, Way], list[float]]
"""Milliseconds from a run's end to a free slot, by what was cut and how."""


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
    async with turn_ends() as ends, endless_server() as server:
        settings = {
            "PARLEY_INFERENCE_OTLP_ENDPOINT": ends.endpoint,
            "PARLEY_INFERENCE_TRACE_RATIO": "1",
            "PARLEY_INFERENCE_MAX_RUNNING_REQUESTS": str(workload.streams + 1),
            "PARLEY_TOOLS_SEARCH_URL": server.url,
        }
        async with WholePath.started(model, scratch, settings) as path:
            return await cancel_figures(path.client, ends, server, workload)


async def cancel_figures(
    client: Client, ends: TurnEnds, server: EndlessServer, workload: Workload, tool: str = TOOL
) -> list[Figure]:
    """Cut runs of a platform that has one seat more than streams that speak, and tells `ends` of its turns.

    Args:
        client: Calls it.
        ends: Hears of its turns.
        server: Where its tool looks.
        workload: How much.
        tool: The tool that waits for the server.
    """
    cuts, times = Cutting(client, workload.samples), Times()
    async with speaking(client, workload.streams) as speakers:
        async with speaking(client, 1):
            await cuts.queued()
        await cuts.reading()
        await cuts.answering()
        try:
            times = await tool_times(client, server, workload.samples, tool)
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


async def tool_times(client: Client, server: EndlessServer, samples: int, tool: str) -> Times:
    """How long a tool's connection stayed open after its run's end."""
    request = question("Search the web for gRPC deadlines.", all_tools=False)
    request.server_tools.names.append(tool)
    request.tool_choice.name = tool
    request.sampling.temperature = 0  # the call is written once, and then comes from the cache
    began = time.monotonic()
    await _cut_at_tool(client, server, request, Way.GONE)
    deadline = 2 * (time.monotonic() - began) + 0.3
    found: Times = defaultdict(list)
    for _ in range(samples):
        for way in (Way.GONE, Way.CANCEL):
            found["tool", way].append(await _cut_at_tool(client, server, request, way))
        run = asyncio.create_task(outlived(client, request, deadline))
        visit = await server.visit()
        found["tool", Way.DEADLINE].append(await _after(await run, visit))
    return found


async def _cut_at_tool(
    client: Client, server: EndlessServer, request: chat_pb2.ChatRequest, way: Way
) -> float:
    """Milliseconds from the run's end to that of the tool's connection."""
    async with client.chat(request) as events:
        run_id = (await anext(events)).started.run_id
        visit = await server.visit()
        ended = await end(client, events, run_id, way)
    return await _after(ended, visit)


async def _after(ended: Cut, visit: Visit) -> float:
    """Milliseconds from a run's end to that of its tool's connection."""
    async with asyncio.timeout(VISIT_SECONDS):
        return 1000 * (await visit - ended.seconds)


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
