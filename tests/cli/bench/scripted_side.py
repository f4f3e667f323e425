"""A side of a comparison that answers by script, in this process or ordered in one of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from cli.bench.answering import Answering
from cli.bench.load import Chunk
from cli.bench.orders import run
from cli.bench.streams import Ask, Load

STEP_SECONDS = 0.005
CONTEXT = 100_000


class ScriptedSide(Answering):
    """Has a word for each step, and so many seats."""

    def __init__(self, seats: int = 100, fails_after: int = CONTEXT) -> None:
        super().__init__()
        self.pids = {"all": os.getpid()}
        self.asked: list[Ask] = []
        self.running = 0
        self._seats = asyncio.Semaphore(seats)
        self._open = 0
        self._fails_after = fails_after

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[AsyncIterator[Chunk]]:
        self.asked.append(ask)
        self._open += 1
        try:
            async with self._seats:
                self.running += 1
                try:
                    yield self._words(ask.tokens or CONTEXT)
                finally:
                    self.running -= 1
        finally:
            self._open -= 1

    async def load(self) -> Load:
        return Load(self.running, self._open - self.running)

    async def _words(self, tokens: int) -> AsyncIterator[Chunk]:
        for number in range(tokens):
            await asyncio.sleep(STEP_SECONDS)
            if number == self._fails_after:
                raise ConnectionResetError
            yield Chunk(1)


async def load(first: Mapping[str, Any]) -> ScriptedSide:
    return ScriptedSide(first["settings"]["max_running_requests"])


if __name__ == "__main__":
    run(load)
