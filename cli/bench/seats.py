"""Leaves streams in the middle, and looks at the engine's own count until they are gone from it.

All sides are looked at alike, so they can be compared. What a look takes is part of what is seen, and told
beside it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from cli.bench.deadline import happens
from cli.bench.prompts import bench_question, long_text
from cli.bench.speakers import speaking
from cli.bench.streams import Ask, Streams
from cli.failures import CommandError

LOOK_SECONDS = 0.002
FIRST = 500
"""The prompts are none of those that were cut otherwise before: the engine knows the beginnings of those."""


@dataclass
class Held:
    """How long the engine counted streams that were left.

    Attributes:
        reading: Milliseconds, of those that were left as soon as they were counted: long prompts, still read.
        speaking: Milliseconds, of those that were left after their first text.
        looks: Milliseconds between one look at the count and the next.
        gaps: Milliseconds between the texts of those that speak meanwhile: the engine's steps.
    """

    reading: list[float] = field(default_factory=list)
    speaking: list[float] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


async def held_after(side: Streams, streams: int, samples: int, questions: int) -> Held:
    """Leaves streams of a side that has a seat more than streams that speak.

    Args:
        side: Answers.
        streams: How many speak; the engine counts anew at each of their steps.
        samples: How many are left at each moment.
        questions: Questions in a prompt that takes long to read.
    """
    held = Held()
    async with speaking(side, streams) as speakers:
        for number in range(FIRST, FIRST + samples):
            reading, short = Ask(long_text(number, questions)), Ask(bench_question(number))
            held.reading.append(await _left(side, streams, reading, held.looks, speaks=False))
            held.speaking.append(await _left(side, streams, short, held.looks, speaks=True))
    held.gaps += (1000 * gap for gap in speakers.gaps)
    return held


async def _left(side: Streams, streams: int, ask: Ask, looks: list[float], *, speaks: bool) -> float:
    """Milliseconds from leaving a stream to the first look that no longer finds it.

    Raises:
        CommandError: It was over by itself.
    """
    spoken = asyncio.Event()
    reading = asyncio.create_task(_read(side, ask, spoken))
    try:
        if speaks:
            await happens(spoken, reading)
        while not await _look(side, looks) > streams:
            if reading.done():
                reading.result()
                raise CommandError("An answer was over before it was counted.", "Take a longer context.")
        began = time.perf_counter()
        reading.cancel()
        while await _look(side, looks) > streams:
            pass
        return 1000 * (time.perf_counter() - began)
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def _read(side: Streams, ask: Ask, spoken: asyncio.Event) -> None:
    async with side.stream(ask) as chunks:
        async for chunk in chunks:
            if chunk.is_text:
                spoken.set()


async def _look(side: Streams, looks: list[float]) -> int:
    """The engine's count, asked after a moment; notes what that took."""
    began = time.perf_counter()
    await asyncio.sleep(LOOK_SECONDS)
    running = (await side.load()).running
    looks.append(1000 * (time.perf_counter() - began))
    return running
