"""`parley bench memory`: what a stream takes on which nothing is said, and whether many of them last."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
import uvloop

from cli.bench.sides import WholePath
from cli.console import errors
from cli.failures import told
from cli.figures import Figure, show_figures
from cli.model import choose_local_model
from parley.inference.v1 import answer_pb2, converse_pb2
from parley_client.client import Client
from parley_client.conversation import ConversationStream
from parley_client.errors import ParleyError

TARGET_KIB = 60.0
WARM_STREAMS = 64
AT_ONCE = 32
"""Opened and asked so many at a time: it is what stays that is measured, and not a rush."""

ANSWER_SECONDS = 60.0
SETTLE_SECONDS = 2.0


@told
def memory(
    streams: Annotated[int, typer.Option(help="Streams to hold open.", min=1)] = 2000,
    seconds: Annotated[float, typer.Option(help="How long, in seconds.", min=0, max=540)] = 60.0,
    model: Annotated[str, typer.Option(help="A model's folder.", metavar="PATH")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Hold idle conversations open: the memory of each, and how many are lost.

    Through the edge, on a stack of its own.
    """
    chosen = choose_local_model(model or os.environ.get("PARLEY_INFERENCE_MODEL"))
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        workload = Workload(streams, seconds)
        figures = uvloop.run(_measure(Path(chosen.source), Path(scratch), workload))
    show_figures(figures, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many streams, held for so many seconds."""

    streams: int
    seconds: float


async def _measure(model: Path, scratch: Path, workload: Workload) -> list[Figure]:
    errors().print("starting the whole path; this takes a while")
    async with WholePath.started(model, scratch) as path:
        return await memory_figures(path.client, path.pids, workload)


async def memory_figures(client: Client, pids: Mapping[str, int], workload: Workload) -> list[Figure]:
    """Hold streams of a platform.

    Args:
        client: Calls it.
        pids: Its processes, by name.
        workload: How many, and how long.
    """
    # What the first streams load and what allocators keep is not what a stream takes.
    async with _open(client, min(WARM_STREAMS, workload.streams)):
        pass
    await asyncio.sleep(SETTLE_SECONDS)
    before = resident(pids)
    async with _open(client, workload.streams) as streams:
        opened = resident(pids)
        await asyncio.sleep(workload.seconds)
        held = resident(pids)
        alive = await _alive(streams)
    return figures_of(workload, before, (opened, held), alive)


def figures_of(
    workload: Workload, before: Mapping[str, int], after: Sequence[Mapping[str, int]], alive: int
) -> list[Figure]:
    """The figures, from the bytes of each process before and after the streams were opened."""
    most = {name: max(max(each[name] for each in after) - before[name], 0) for name in before}
    kib = {name: grown / workload.streams / 1024 for name, grown in most.items()}
    lost = f"of {workload.streams} streams lost in {workload.seconds:g} s"
    return [
        Figure("load of the machine, over 1 minute", os.getloadavg()[0], ""),
        *(Figure(f"an idle stream in {name}", each, "KiB") for name, each in sorted(kib.items())),
        Figure("an idle stream in all processes", sum(kib.values()), "KiB", TARGET_KIB),
        Figure(lost, workload.streams - alive, "", 0),
    ]


def resident(pids: Mapping[str, int]) -> dict[str, int]:
    """The memory that each process shares with no other, in bytes."""
    return {name: psutil.Process(pid).memory_full_info().uss for name, pid in pids.items()}


@asynccontextmanager
async def _open(client: Client, streams: int) -> AsyncIterator[list[ConversationStream]]:
    """So many conversations that were answered once, closed at the block's end."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(client.converse(converse_pb2.ConverseSetup()))
            for _ in range(streams)
        ]
        await _alive(opened)
        yield opened


async def _alive(streams: Sequence[ConversationStream]) -> int:
    """How many still answer."""
    alive = 0
    for first in range(0, len(streams), AT_ONCE):
        alive += sum(await asyncio.gather(*map(_answers, streams[first : first + AT_ONCE])))
    return alive


async def _answers(stream: ConversationStream) -> bool:
    """Whether a conversation answers to what asks nothing of the model: a result that nobody waits for."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await stream.submit_tool_result(answer_pb2.ClientToolResult(call_id="bench", content="{}"))
            return (await anext(stream)).HasField("refusal")
    except (ParleyError, StopAsyncIteration, TimeoutError):
        return False
