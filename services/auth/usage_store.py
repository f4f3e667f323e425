"""Opens the store in which the services that spend count usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from services.ledger.ledger import open_store

log = structlog.get_logger("parley.auth")


@asynccontextmanager
async def usage_store(url: str) -> AsyncIterator[Redis | None]:
    """The store at this URL until the block's end; none where the URL is empty."""
    if not url:
        log.warning("no usage store is set: usage is not recorded, and quotas are not kept")
        yield None
        return
    async with open_store(url) as store:
        yield store
