"""`parley bench slow-readers`: what readers that do not read cost the service, and the others."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, NamedTuple

import typer

from cli.bench.answering import Hold, Side, held_ask, holding
from cli.bench.deadline import within
from cli.bench.figures import Figure
from cli.bench.place import JsonOption, ModelOption, Place, ServerOption, beside, show_measured
from cli.bench.resident import PEAK_SECONDS, resident, watched
from cli.bench.sides import TEXT, WholePath, chat_request
from cli.console import errors
from cli.failures import CommandError, ExitCode, told
from parley.inference.v1 import chat_pb2
from parley_client.client import Client
from parley_client.errors import ParleyError
from parley_client.stream import EventStream

SLOWDOWN_TARGET = 1.05
READER_MIB_TARGET = 4.0
"""The edge has a window of 1 MiB towards either side; the rest is what gRPC keeps of both."""

GIVE_UP_SECONDS = 600.0
OPEN_SECONDS = 300.0
UNREAD_SECONDS = 30.0
"""How long a side that gives up nobody is watched; its memory grows for as long as it generates."""

GIVEN_UP = "parley_inference_slow_readers_total"


@told
def slow_readers(
    streams: Annotated[int, typer.Option(help="Streams that read.", min=1)] = 8,
    readers: Annotated[int, typer.Option(help="Readers that do not.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds; 5 or more for a figure to rely on.", min=1)] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2, max=100_000)] = 128,
    patience: Annotated[float, typer.Option(help="Seconds a reader has for a message.", min=0.1)] = 5.0,
    server: ServerOption = True,
    model: ModelOption = "",
    as_json: JsonOption = False,
) -> None:
    """Put readers that do not read beside streams that do.

    What the streams notice, what the readers take of memory, and how they end:
    of the whole path, of the engine alone and of vLLM's own server, one after
    the other. Starts a stack of its own.
    """
    workload = Workload(streams, readers, rounds, tokens)
    show_measured(partial(_measure, workload, patience), model, server=server, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many rounds of streams with so many tokens, beside so many slow readers."""

    streams: int
    readers: int
    rounds: int
    tokens: int


class Rates(NamedTuple):
    """Tokens per second of the streams that read, in one round.

    Attributes:
        alone: With nobody beside them.
        beside_quick: Beside as many more streams as there are slow readers.
        beside_slow: Beside the slow readers.
    """

    alone: float
    beside_quick: float
    beside_slow: float


@dataclass
class Found:
    """What was measured so far.

    Attributes:
        rates: Of each round that was whole.
        grown: By how many bytes each process grew at most while there were slow readers.
        reasons: How the slow readers of the path ended.
        lost: How many of the others were ended.
    """

    rates: list[Rates] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    lost: int = 0

    @property
    def slowdown(self) -> float:
        """How many times slower the streams are beside those that do not read; the median of the rounds."""
        return statistics.median(each.beside_quick / each.beside_slow for each in self.rates)

    def mib(self, workload: Workload) -> dict[str, float]:
        """What a slow reader took of each process, in MiB."""
        return {name: grown / workload.readers / 2**20 for name, grown in self.grown.items()}


async def _measure(workload: Workload, patience: float, place: Place) -> AsyncGenerator[Figure, None]:
    found, failure = Found(), None
    try:
        async with place.path(reader_seconds=patience) as path:
            await measure_path(path, workload, found)
    except (CommandError, ParleyError) as error:
        failure = error
    if found.rates:
        for figure in figures_of(workload, found):
            yield figure
    if failure is not None:
        raise failure
    for name, start in place.baselines().items():
        async with start() as side:
            theirs = await measure_side(side, workload, UNREAD_SECONDS)
        for figure in compared(name, workload, theirs, found):
            yield figure


async def _given_up(path: WholePath) -> int:
    """How many readers the service gave up so far, by its own count."""
    return int(*await path.metrics.of(GIVEN_UP))


async def measure_path(path: WholePath, workload: Workload, found: Found) -> None:
    """Measure a platform.

    Args:
        path: Calls it.
        workload: How much.
        found: Takes what was measured, round by round.
    """
    await _rounds(path, workload, found, partial(_beside_slow, path, workload, found))


async def measure_side(side: Side, workload: Workload, seconds: float) -> Found:
    """Measure what the path is compared with.

    Args:
        side: It.
        workload: How much.
        seconds: How long nothing is read after the others are through.
    """
    found = Found()
    await _rounds(side, workload, found, partial(_beside_unread, side, workload, found, seconds))
    return found


async def _rounds(
    side: Side, workload: Workload, found: Found, beside_slow: Callable[[], Awaitable[float]]
) -> None:
    """Measures the streams of a side alone, beside readers that read, and beside those that do not."""
    await _rate(side, workload)
    for turn in range(workload.rounds):
        errors().print(f"round {turn + 1} of {workload.rounds}")
        alone = await _rate(side, workload)
        async with _held(side, Hold.READ, workload):
            quick = await _rate(side, workload)
        found.rates.append(Rates(alone, quick, await beside_slow()))


async def _beside_unread(side: Side, workload: Workload, found: Found, seconds: float) -> float:
    """A round beside readers that read nothing until it is over."""
    before = resident(side.pids)
    async with _held(side, Hold.UNREAD, workload):
        async with watched(side.pids, before, found.grown):
            rate = await _rate(side, workload)
            await asyncio.sleep(seconds)
        found.lost += await side.lost()
    return rate


async def _beside_slow(path: WholePath, workload: Workload, found: Found) -> float:
    """A round beside readers that read nothing until the service gave them up."""
    before, given_up_before = resident(path.pids), await _given_up(path)
    async with (
        _readers(path.client, workload.readers) as readers,
        watched(path.pids, before, found.grown),
    ):
        rate = await _rate(path, workload)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await _given_up(path) - given_up_before < workload.readers:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(PEAK_SECONDS)
        except TimeoutError:
            message = "The readers were not given up: their answers ended before anything was full."
            raise CommandError(message, "Take a model with a longer context.", ExitCode.FAILED) from None
        async with within(OPEN_SECONDS, "what readers were sent that had been given up"):
            found.reasons += await asyncio.gather(*map(_read_on, readers))
    return rate


async def _rate(side: Side, workload: Workload) -> float:
    """Tokens per second of the streams that read."""
    return (await side.measure(workload.streams, workload.tokens)).tokens_per_second


@asynccontextmanager
async def _held(side: Side, how: Hold, workload: Workload) -> AsyncIterator[None]:
    """Readers of a side until the block's end, each beyond its first text."""
    async with AsyncExitStack() as stack:
        async with within(OPEN_SECONDS, "the first texts of readers"):
            await stack.enter_async_context(holding(side, how, workload.readers))
        yield


@asynccontextmanager
async def _readers(client: Client, count: int) -> AsyncIterator[list[EventStream[chat_pb2.ChatEvent]]]:
    """Streams with a lot to read, each read up to its first text; closed at the block's end."""
    async with AsyncExitStack() as stack:
        requests = [chat_request(held_ask(Hold.UNREAD, number)) for number in range(count)]
        readers = [await stack.enter_async_context(client.chat(request)) for request in requests]
        async with within(OPEN_SECONDS, "the first texts of readers"):
            await asyncio.gather(*map(_until_spoken, readers))
        yield readers


async def _until_spoken(reader: EventStream[chat_pb2.ChatEvent]) -> None:
    async for event in reader:
        if event.WhichOneof("event") in TEXT:
            return


async def _read_on(reader: EventStream[chat_pb2.ChatEvent]) -> str:
    """Read to the end; gives the reason of it."""
    reason = ""
    try:
        async for event in reader:
            if event.WhichOneof("event") == "finished":
                reason = chat_pb2.FinishReason.Name(event.finished.reason)
    except ParleyError as error:
        reason = error.reason
    return reason.removeprefix("FINISH_REASON_")


def figures_of(workload: Workload, found: Found) -> list[Figure]:
    """The figures of the path; slowdowns are medians of the rounds' ratios."""
    mib = found.mib(workload)
    typed = sum(reason in ("SLOW_READER", "READER_TOO_SLOW") for reason in found.reasons)
    others, readers = f"{workload.streams} streams", f"{workload.readers} readers"
    alone, quick, slow = (statistics.median(rates) for rates in zip(*found.rates, strict=True))
    return [
        Figure(f"{others} alone", alone, "tokens/s"),
        Figure(f"{others} beside {readers} that read", quick, "tokens/s"),
        Figure(f"{others} beside {readers} that do not", slow, "tokens/s"),
        Figure(
            "the streams are slower beside those that do not read, times",
            found.slowdown,
            "",
            SLOWDOWN_TARGET,
        ),
        *(
            Figure(f"a reader that does not read, in {name}", each, "MiB")
            for name, each in sorted(mib.items())
        ),
        Figure("a reader that does not read, in all processes", sum(mib.values()), "MiB", READER_MIB_TARGET),
        Figure(
            f"of {len(found.reasons)} of them ended otherwise than typed", len(found.reasons) - typed, "", 0
        ),
    ]


def compared(name: str, workload: Workload, theirs: Found, ours: Found) -> list[Figure]:
    """The figures of a side, beside those of the path."""
    unread, readers = f"a reader unread for {UNREAD_SECONDS:g} s", workload.readers * workload.rounds
    theirs_mib, ours_mib = (sum(found.mib(workload).values()) for found in (theirs, ours))
    return [
        *beside(name, "slower beside readers that do not read", theirs.slowdown, ours.slowdown, "times"),
        *beside(name, unread, theirs_mib, ours_mib, "MiB"),
        Figure(f"{name}: of {readers} of them it ended", theirs.lost, ""),
    ]
