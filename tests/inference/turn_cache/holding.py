"""A replica as a process of its own, that begins a turn and never ends it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.inference.turn_cache.cache import TurnCache
from services.ledger.ledger import open_store
from tests.inference.turn_cache.speaking import Asker, SpeakingEngine


async def hold(store_url: str, tokens: int) -> None:
    """Say so many tokens of a turn, and say so; then wait to be killed."""
    engine = SpeakingEngine()
    engine.holds_at = tokens
    async with open_store(store_url) as store:
        cache = TurnCache(store)
        async with cache.sharing():
            await cache.wait_until_sharing()
            asker = Asker(engine, cache)
            await asker.begin()
            await asker.read(tokens)
            print("holding", flush=True)
            await asyncio.Event().wait()


@asynccontextmanager
async def holding(store_url: str, tokens: int) -> AsyncIterator[Callable[[], None]]:
    """Such a process, until the block's end; gives what kills it."""
    command = (sys.executable, "-m", "tests.inference.turn_cache.holding", store_url, str(tokens))
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"holding\n"
        yield process.kill
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(hold(sys.argv[1], int(sys.argv[2])))
