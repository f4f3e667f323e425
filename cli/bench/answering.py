"""What a bench asks of whoever answers streams: the engine alone, vLLM's own server, the whole path."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cli.bench.deadline import happens
from cli.bench.load import Chunk, Round, measure
from cli.bench.prompts import bench_question
from cli.bench.seats import Held, held_after
from cli.bench.streams import Ask, Load
from cli.console import errors

HELD_NUMBERS = 1_000_000
"""The questions of streams that are held are none of those that are measured."""

AT_ONCE = 32
"""Opened so many at a time: it is what stays that is measured, and not a rush."""

CHOICES, TOP_LOGPROBS = 8, 20
"""Makes an answer long enough for all that lies between to fill."""

ENDED_SECONDS = 5.0
LOOK_SECONDS = 0.1


class Hold(StrEnum):
    """What becomes of a stream that is held open."""

    QUEUED = "queued"
    """It waits for the only seat, which another of them has: whoever is the first at the moment."""

    READ = "read"
    """A long answer that is read."""

    UNREAD = "unread"
    """A long answer of which nothing is read after its first text."""


class Side(Protocol):
    """One side of a comparison."""

    @property
    def pids(self) -> dict[str, int]:
        """Its processes, by name; what they started belongs to them."""
        ...

    async def measure(self, streams: int, tokens: int) -> Round:
        """Answers this many streams of this many tokens at once."""
        ...

    async def answers(self, questions: int, requests: int, tokens: int) -> list[float]:
        """Answers so many requests one after another, at temperature 0, with so many questions by turns.

        Gives how many milliseconds each took, to its end.
        """
        ...

    async def cuts(self, streams: int, samples: int, questions: int) -> Held:
        """Cuts samples of streams, beside streams that speak; see `cli.bench.seats`.

        Args:
            streams: How many speak.
            samples: How many are cut at each moment.
            questions: Questions in a prompt that takes long to read.
        """
        ...

    async def hold(self, how: Hold, count: int) -> None:
        """Opens streams and keeps them, until `release`."""
        ...

    async def lost(self) -> int:
        """How many of the streams that are held have failed. Reads on where nothing was read."""
        ...

    async def release(self) -> None:
        """Closes the streams that are held."""
        ...


@asynccontextmanager
async def holding(side: Side, how: Hold, count: int) -> AsyncIterator[None]:
    """Streams that are held until the block's end."""
    await side.hold(how, count)
    try:
        yield
    finally:
        await side.release()


async def by_turns(
    sides: Mapping[str, Side], streams: int, tokens: int, rounds: int
) -> dict[str, list[Round]]:
    """Measures sides round by round, after a warm-up. The machine drifts, so who is first changes."""
    for side in sides.values():
        await side.measure(streams, tokens)
    found: dict[str, list[Round]] = {name: [] for name in sides}
    for turn in range(rounds):
        errors().print(f"{streams} streams, round {turn + 1} of {rounds}")
        order = list(sides.items())
        for name, side in order if turn % 2 == 0 else reversed(order):
            found[name].append(await side.measure(streams, tokens))
    return found


@dataclass
class _Reader:
    """A stream that is held: reads, or stops after the first text until it is told to go on."""

    ask: Ask
    stops: bool
    spoken: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, side: Answering) -> None:
        async with side.stream(self.ask) as chunks:
            async for chunk in chunks:
                if chunk.is_text:
                    self.spoken.set()
                    if self.stops:
                        await self.goes_on.wait()


class Answering(ABC):
    """A side where its streams are opened in this very process."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._readers: list[_Reader] = []
        self._reading: list[asyncio.Task[None]] = []

    @abstractmethod
    def stream(self, ask: Ask) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """An answer as it comes; leaving the block is leaving the stream."""

    @abstractmethod
    async def load(self) -> Load:
        """The engine's own count of its requests, after its last step."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what it runs on."""

    async def measure(self, streams: int, tokens: int) -> Round:
        """See `Side.measure`."""
        return await measure(streams, lambda number: self.chunks(Ask(bench_question(number), tokens)))

    async def chunks(self, ask: Ask) -> AsyncIterator[Chunk]:
        """An answer that is read to its end."""
        async with self.stream(ask) as chunks:
            async for chunk in chunks:
                yield chunk

    async def answers(self, questions: int, requests: int, tokens: int) -> list[float]:
        """See `Side.answers`."""
        taken = []
        for number in range(requests):
            began = time.perf_counter()
            async for _ in self.chunks(Ask(bench_question(number % questions), tokens, temperature=0)):
                pass
            taken.append(1000 * (time.perf_counter() - began))
        return taken

    async def cuts(self, streams: int, samples: int, questions: int) -> Held:
        """See `Side.cuts`."""
        return await held_after(self, streams, samples, questions)

    async def hold(self, how: Hold, count: int) -> None:
        """See `Side.hold`."""
        how = Hold(how)  # An order in JSON has its name.
        readers = [_Reader(held_ask(how, number), how is Hold.UNREAD) for number in range(count)]
        for first in range(0, count, AT_ONCE):
            some = readers[first : first + AT_ONCE]
            reading = [asyncio.create_task(reader.read(self)) for reader in some]
            self._readers += some
            self._reading += reading
            if how is Hold.QUEUED:
                await self._queued()
            else:
                for reader, task in zip(some, reading, strict=True):
                    await happens(reader.spoken, task)

    async def lost(self) -> int:
        """See `Side.lost`."""
        unread = [reader for reader in self._readers if reader.stops]
        for reader in unread:
            reader.goes_on.set()
        if unread:
            await asyncio.wait(self._reading, timeout=ENDED_SECONDS)
        return sum(task.done() and task.exception() is not None for task in self._reading)

    async def release(self) -> None:
        """See `Side.release`."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        self._readers.clear()
        self._reading.clear()

    async def _queued(self) -> None:
        """Until the engine counts all that are held; what it counts is that of its last step."""
        while True:
            self._refuse_failed()
            if sum(await self.load()) >= sum(not task.done() for task in self._reading):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _refuse_failed(self) -> None:
        """Raises what a held stream failed with."""
        for task in self._reading:
            if task.done():
                task.result()


def held_ask(how: Hold, number: int) -> Ask:
    """What a stream is asked that is held so."""
    text = bench_question(HELD_NUMBERS + number)
    if how is Hold.QUEUED:
        return Ask(text)
    # At temperature 0 all choices would be the same, and are refused.
    return Ask(text, temperature=1, choices=CHOICES, top_logprobs=TOP_LOGPROBS)
