"""The letters to one replica: a channel of its own in the cache's store."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.inference.turn_cache.letters import Letter, read, write
from services.rpc.tasks import end_task

CHANNEL = "parley:turns:inbox:"
SEND_SECONDS = 2.0
POLL_SECONDS = 5.0
RECONNECT_SECONDS = (0.1, 5.0)

Take = Callable[[Letter], Awaitable[None]]


class Inbox:
    """Takes this replica's letters and posts others'.

    Attributes:
        replica: Names the replica; a restarted one has another name.
        listening: Set while letters arrive.
    """

    def __init__(self, store: Redis) -> None:
        """Use this store."""
        self.replica = secrets.token_hex(8)
        self.listening = asyncio.Event()
        self._store = store
        self._log = structlog.get_logger("parley.inference")

    async def post(self, replica: str, letter: Letter) -> int | None:
        """Send a letter; gives how many listen there, None where that cannot be found out."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return int(await self._store.publish(CHANNEL + replica, write(letter)))
        except (RedisError, OSError, TimeoutError):
            return None

    @asynccontextmanager
    async def taking(self, take: Take) -> AsyncIterator[None]:
        """Hand letters on until the block's end, through any trouble of the store."""
        task = asyncio.create_task(self._listen(take))
        try:
            yield
        finally:
            await end_task(task)

    async def _listen(self, take: Take) -> None:
        pause, longest = RECONNECT_SECONDS
        while True:
            try:
                async with self._store.pubsub() as letters:
                    await letters.subscribe(CHANNEL + self.replica)
                    pause = RECONNECT_SECONDS[0]
                    await self._take(letters, take)
            except (RedisError, OSError) as error:
                self._log.warning("cache's letters lost", error=type(error).__name__, retry_seconds=pause)
            self.listening.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def _take(self, letters: PubSub, take: Take) -> None:
        while True:
            parcel = await letters.get_message(timeout=POLL_SECONDS)
            if parcel is None:
                continue
            if parcel["type"] == "subscribe":
                self.listening.set()
                continue
            try:
                letter = read(parcel["data"])
            except ValueError:
                self._log.warning("letter not understood")
                continue
            await take(letter)
