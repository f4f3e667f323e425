"""`parley bench slow-readers`: what readers that do not read cost the service, and the others."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from cli.bench.cuts import SPOKEN, endless
from cli.bench.load import measure
from cli.bench.memory import resident
from cli.bench.prompts import bench_question, endless_copy
from cli.bench.sides import WholePath, answer
from cli.console import errors
from cli.failures import CommandError, ExitCode, told
from cli.figures import Figure, show_figures
from cli.model import choose_local_model
from cli.preflight import free_port
from parley.inference.v1 import chat_pb2
from parley_client.client import Client
from parley_client.errors import ParleyError
from parley_client.stream import EventStream

SLOWDOWN_TARGET = 1.05
READER_MIB_TARGET = 4.0
"""The edge has a window of 1 MiB towards either side; the rest is what gRPC keeps of both."""

CHOICES, TOP_LOGPROBS = 8, 20
"""Makes an answer long enough for all that lies between to fill."""

READER_NUMBERS = 1_000_000
PEAK_SECONDS = 0.5
GIVE_UP_SECONDS = 600.0
GIVEN_UP = "parley_inference_slow_readers_total"
METRICS_SECONDS = 5.0

GivenUp = Callable[[], Awaitable[int]]
"""How many readers the service gave up so far."""


@told
def slow_readers(
    streams: Annotated[int, typer.Option(help="Streams that read.", min=1)] = 8,
    readers: Annotated[int, typer.Option(help="Readers that do not.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Rounds; 5 or more for a figure to rely on.", min=1)] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2, max=100_000)] = 128,
    patience: Annotated[float, typer.Option(help="Seconds a reader has for a message.", min=0.1)] = 5.0,
    model: Annotated[str, typer.Option(help="A model's folder.", metavar="PATH")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Put readers that do not read beside streams that do.

    What the streams notice, what the readers take of memory, and how they end.
    Starts a stack of its own.
    """
    chosen = choose_local_model(model or os.environ.get("PARLEY_INFERENCE_MODEL"))
    workload = Workload(streams, readers, rounds, tokens)
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        folder = endless_copy(Path(chosen.source), Path(scratch) / chosen.name)
        figures = uvloop.run(_measure(folder, Path(scratch), workload, patience))
    show_figures(figures, as_json=as_json)


@dataclass(frozen=True)
class Workload:
    """What is measured: so many rounds of streams with so many tokens, beside so many slow readers."""

    streams: int
    readers: int
    rounds: int
    tokens: int


@dataclass
class Found:
    """What was measured so far.

    Attributes:
        alone: Tokens per second of the streams with nobody beside them, round by round.
        beside_quick: The same beside as many more streams as there are slow readers.
        beside_slow: The same beside the slow readers.
        grown: By how many bytes each process grew at most while there were slow readers.
        reasons: How the slow readers ended.
    """

    alone: list[float] = field(default_factory=list)
    beside_quick: list[float] = field(default_factory=list)
    beside_slow: list[float] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


async def _measure(model: Path, scratch: Path, workload: Workload, patience: float) -> list[Figure]:
    errors().print("starting the whole path; this takes a while")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "PARLEY_INFERENCE_METRICS_ADDRESS": address,
        "PARLEY_INFERENCE_READER_SECONDS": str(patience),
    }
    async with WholePath.started(model, scratch, settings) as path:

        async def given_up() -> int:
            return await asyncio.to_thread(_given_up, address)

        return await slow_reader_figures(path.client, path.pids, given_up, workload)


def _given_up(address: str) -> int:
    """The service's own count."""
    connection = HTTPConnection(address, timeout=METRICS_SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    samples = (each for family in text_string_to_metric_families(text) for each in family.samples)
    return int(next(each.value for each in samples if each.name == GIVEN_UP))


async def slow_reader_figures(
    client: Client, pids: Mapping[str, int], given_up: GivenUp, workload: Workload
) -> list[Figure]:
    """Measure a platform.

    Args:
        client: Calls it.
        pids: Its processes, by name.
        given_up: Asks how many readers it gave up.
        workload: How much.
    """
    found = Found()
    await _rate(client, workload)
    for turn in range(workload.rounds):
        errors().print(f"round {turn + 1} of {workload.rounds}")
        found.alone.append(await _rate(client, workload))
        async with _readers(client, workload.readers) as readers:
            reading = [asyncio.create_task(_read_on(reader)) for reader in readers]
            found.beside_quick.append(await _rate(client, workload))
        await asyncio.gather(*reading, return_exceptions=True)
        await _beside_slow(client, pids, given_up, workload, found)
    return figures_of(workload, found)


async def _beside_slow(
    client: Client, pids: Mapping[str, int], given_up: GivenUp, workload: Workload, found: Found
) -> None:
    """A round beside readers that read nothing until the service gave them up."""
    before, given_up_before = resident(pids), await given_up()
    async with _readers(client, workload.readers) as readers, _watched(pids, before, found.grown):
        found.beside_slow.append(await _rate(client, workload))
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while await given_up() - given_up_before < workload.readers:  # noqa: ASYNC110 - of another process
                    await asyncio.sleep(PEAK_SECONDS)
        except TimeoutError:
            message = "The readers were not given up: their answers ended before anything was full."
            raise CommandError(message, "Take a model with a longer context.", ExitCode.FAILED) from None
        found.reasons += await asyncio.gather(*map(_read_on, readers))


async def _rate(client: Client, workload: Workload) -> float:
    """Tokens per second of the streams that read."""
    done = await measure(workload.streams, lambda number: answer(client, number, workload.tokens))
    return done.tokens_per_second


@asynccontextmanager
async def _readers(client: Client, count: int) -> AsyncIterator[list[EventStream[chat_pb2.ChatEvent]]]:
    """Streams with a lot to read, each read up to its first text; closed at the block's end."""
    async with AsyncExitStack() as stack:
        readers = []
        for number in range(count):
            request = endless(bench_question(READER_NUMBERS + number))
            request.sampling.choice_count, request.sampling.top_logprobs = CHOICES, TOP_LOGPROBS
            request.sampling.temperature = 1  # At 0 all choices would be the same, and are refused.
            readers.append(await stack.enter_async_context(client.chat(request)))
        await asyncio.gather(*map(_until_spoken, readers))
        yield readers


async def _until_spoken(reader: EventStream[chat_pb2.ChatEvent]) -> None:
    async for event in reader:
        if event.WhichOneof("event") in SPOKEN:
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


@asynccontextmanager
async def _watched(
    pids: Mapping[str, int], before: Mapping[str, int], grown: dict[str, int]
) -> AsyncIterator[None]:
    """Notes by how much processes grow until the block's end, at most."""

    def note() -> None:
        for name, now in resident(pids).items():
            grown[name] = max(grown.get(name, 0), now - before[name])

    async def watch() -> None:
        while True:
            note()
            await asyncio.sleep(PEAK_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        yield
        note()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def figures_of(workload: Workload, found: Found) -> list[Figure]:
    """The figures; slowdowns are medians of the rounds' ratios."""
    mib = {name: grown / workload.readers / 2**20 for name, grown in found.grown.items()}
    typed = sum(reason in ("SLOW_READER", "READER_TOO_SLOW") for reason in found.reasons)
    others, readers = f"{workload.streams} streams", f"{workload.readers} readers"
    return [
        Figure("load of the machine, over 1 minute", os.getloadavg()[0], ""),
        Figure(f"{others} alone", statistics.median(found.alone), "tokens/s"),
        Figure(f"{others} beside {readers} that read", statistics.median(found.beside_quick), "tokens/s"),
        Figure(f"{others} beside {readers} that do not", statistics.median(found.beside_slow), "tokens/s"),
        Figure(
            "the streams are slower beside those that do not read, times",
            _slowdown(found.beside_quick, found.beside_slow),
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


def _slowdown(quick: Sequence[float], slow: Sequence[float]) -> float:
    return statistics.median(before / after for before, after in zip(quick, slow, strict=True))
