"""Caches of replicas that share one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from services.inference.turn_cache.cache import TurnCache
from services.inference.turn_cache.pace import Pace

PATIENT = Pace(beat_seconds=0.5, silence_seconds=30, look_seconds=30)
"""For a machine that many tests keep busy."""

Caches = Callable[..., Any]


@pytest.fixture
async def caches(store: Redis) -> AsyncIterator[Caches]:
    """Gives the cache of another replica each time, on a store that was empty."""
    await store.flushdb()
    async with AsyncExitStack() as stack:

        async def another(**options: Any) -> TurnCache:
            made = TurnCache(store, pace=PATIENT, **options)
            await stack.enter_async_context(made.sharing())
            await asyncio.wait_for(made.wait_until_sharing(), 5)
            return made

        yield another
