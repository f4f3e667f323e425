"""The store as it is asked: for a while, and with one error where it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from services.rpc.errors import DependencyUnavailable

STORE_SECONDS = 2.0


@asynccontextmanager
async def asking_store(seconds: float | None = STORE_SECONDS) -> AsyncIterator[None]:
    """Ask the store in this block, for so long; None leaves that to the store's client.

    Raises:
        DependencyUnavailable: It does not answer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise DependencyUnavailable("store") from error
