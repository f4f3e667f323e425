"""`parley bench memory`: what a stream takes on which nothing is said, and whether many of them last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

import typer

from cli.bench.answering import AT_ONCE, Hold, Side, holding
from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.place import JsonOption, ModelOption, Place, ServerOption, beside, show_measured
from cli.bench.resident import resident
from cli.failures import told
from parley.inference.v1 import answer_pb2, converse_pb2
from parley_client.client import Client
from parley_client.conversation import ConversationStream
from parley_client.errors import ParleyError

TARGET_KIB = 60.0
WARM_STREAMS = 64
ANSWER_SECONDS = 60.0
SETTLE_SECONDS = 2.0
OPEN_SECONDS = 900.0

Held = TypeVar("Held")


@told
def memory(
    streams: Annotated[int, typer.Option(help="Streams to hold open.", min=1)] = 2000,
    seconds: Annotated[float, typer.Option(help="How long, in seconds.", min=0, max=540)] = 60.0,
    server: ServerOption = True,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Hold idle conversations open: the memory of each, and how many are lost.

    Through the edge, on a stack of its own. The engine alone and vLLM's own
    server know no idle stream: theirs are as many requests that wait for the only seat.
    """
    show_measured(partial(_measure, Workload(streams, seconds)), model, server=server, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many streams, held for so many seconds."""

    streams: int
    seconds: float


@dataclass(frozen=True)
class Kept:
    """Streams that were held.

    Attributes:
        kib: What each took at most, in KiB, by process.
        lost: How many are no longer there.
    """

    kib: Mapping[str, float]
    lost: int


async def _measure(workload: Workload, place: Place) -> AsyncGenerator[Figure, None]:
    seconds = OPEN_SECONDS + workload.seconds
    async with place.path() as path, within(seconds, "idle conversations through the edge"):
        kept = await idle(path.client, path.pids, workload)
    for figure in figures_of(workload, kept):
        yield figure
    ours = sum(kept.kib.values())
    for name, start in place.baselines(seats=1).items():
        async with start() as side, within(seconds, f"waiting requests of the {name}"):
            theirs = await waiting(side, workload)
        for figure in beside(name, "a request that waits", sum(theirs.kib.values()), ours, "KiB"):
            yield figure
        yield Figure(f"{name}: of {workload.streams} lost in {workload.seconds:g} s", theirs.lost, "")


async def idle(client: Client, pids: Mapping[str, int], workload: Workload) -> Kept:
    """Hold conversations of a platform on which nothing is said.

    Args:
        client: Calls it.
        pids: Its processes, by name.
        workload: How many, and how long.
    """

    async def lost(streams: Sequence[ConversationStream]) -> int:
        return workload.streams - await _alive(streams)

    return await _kept(partial(_open, client), pids, workload, lost)


async def waiting(side: Side, workload: Workload) -> Kept:
    """Hold requests of a side that has one seat."""
    return await _kept(partial(holding, side, Hold.QUEUED), side.pids, workload, lambda _: side.lost())


async def _kept(
    held: Callable[[int], AbstractAsyncContextManager[Held]],
    pids: Mapping[str, int],
    workload: Workload,
    lost: Callable[[Held], Awaitable[int]],
) -> Kept:
    """Holds streams and looks at what they take.

    Args:
        held: Holds so many, until a block's end.
        pids: The processes that keep them, by name.
        workload: How many, and how long.
        lost: Asks how many of them are no longer there.
    """
    # What the first streams load and what allocators keep is not what a stream takes.
    async with held(min(WARM_STREAMS, workload.streams)):
        pass
    await asyncio.sleep(SETTLE_SECONDS)
    before = resident(pids)
    async with held(workload.streams) as streams:
        opened = resident(pids)
        await asyncio.sleep(workload.seconds)
        return Kept(_kib(workload, before, (opened, resident(pids))), await lost(streams))


def _kib(
    workload: Workload, before: Mapping[str, int], after: Sequence[Mapping[str, int]]
) -> dict[str, float]:
    """What a stream takes of each process, from its bytes before and after the streams were opened."""
    most = {name: max(max(each[name] for each in after) - before[name], 0) for name in before}
    return {name: grown / workload.streams / 1024 for name, grown in most.items()}


def figures_of(workload: Workload, kept: Kept) -> list[Figure]:
    """The figures of idle conversations."""
    lost = f"of {workload.streams} streams lost in {workload.seconds:g} s"
    return [
        *(Figure(f"an idle stream in {name}", each, "KiB") for name, each in sorted(kept.kib.items())),
        Figure("an idle stream in all processes", sum(kept.kib.values()), "KiB", TARGET_KIB),
        Figure(lost, kept.lost, "", 0),
    ]


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
