"""A store with a usage stream, beside both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis
from ulid import ULID

from parley.auth.v1.usage_pb2 import UsageRecord
from services.auth.usage.consumer import UsageConsumer
from services.ledger.ledger import USAGE, open_store
from services.sql.database import Database

TENANT, ADA, BOB = (str(ULID()) for _ in range(3))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def record(day: int = 23, **fields: Any) -> UsageRecord:
    """A record of ada's with one request of 10 + 5 tokens, with any field changed."""
    told = {
        "record_id": str(ULID()),
        "tenant_id": TENANT,
        "user_id": ADA,
        "model": "demo",
        "requests": 1,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cost_micros": 3,
    }
    made = UsageRecord(**{**told, **fields})
    if "end_time" not in fields:
        made.end_time.FromDatetime(NOON.replace(day=day))
    return made


async def spend(store: Redis, *records: UsageRecord) -> None:
    """What a settled lease does."""
    for one in records:
        await store.xadd(USAGE, {"record": one.SerializeToString()})


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def consumer(store: Redis, database: Database) -> UsageConsumer:
    return UsageConsumer(store, database)
