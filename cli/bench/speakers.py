"""Streams that speak on beside what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cli.bench.deadline import happens
from cli.bench.prompts import bench_question
from cli.bench.streams import Ask, Streams
from cli.failures import CommandError

SPEAKER_NUMBERS = 1_000_000
"""The speakers' questions are none of those that are cut."""


@dataclass
class Speakers:
    """Streams that speak on beside what is measured.

    Attributes:
        gaps: Seconds between their texts: the engine's steps, as they come to a client.
    """

    gaps: list[float] = field(default_factory=list)

    async def speak(self, side: Streams, number: int, spoken: asyncio.Event) -> None:
        """Ask anew whenever the answer is over.

        Raises:
            CommandError: There was none.
        """
        while True:
            last = 0.0
            async with side.stream(Ask(bench_question(number))) as chunks:
                async for chunk in chunks:
                    if not chunk.is_text:
                        continue
                    now = time.monotonic()
                    self.gaps += [now - last] if last else []
                    last = now
                    spoken.set()
            if not last:
                raise CommandError("The model says nothing.", "`parley up` shows why in its logs.")


@asynccontextmanager
async def speaking(side: Streams, streams: int) -> AsyncIterator[Speakers]:
    """So many streams that speak until the block's end.

    Raises:
        CommandError: One of them says nothing.
        ParleyError: One of them failed.
    """
    speakers, begun = Speakers(), [asyncio.Event() for _ in range(streams)]
    tasks = [
        asyncio.create_task(speakers.speak(side, SPEAKER_NUMBERS + number, spoken))
        for number, spoken in enumerate(begun)
    ]
    try:
        for task, spoken in zip(tasks, begun, strict=True):
            await happens(spoken, task)
        yield speakers
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in ended:
        task.result()
