"""A store of its own per test session, and a ledger on an empty one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.ledger.ledger import Ledger, open_store
from services.ledger.limits import Account, Dimension, Payer, Price, Rule, Terms

PAYER = Payer("tenant-1", "user-1", "", "scripted")


def limits(account: str = "user/user-1", price: Price | None = None, **values: int) -> Terms:
    """Terms of one account: `limits(tokens_per_day=100)`."""
    rules = {Dimension(name): Rule(value, "role/user") for name, value in values.items()}
    return Terms((Account(account, rules),), price or Price())


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Redis]:
    async with open_store(store_url) as client:
        await client.flushall()
        yield client


@pytest.fixture
async def ledger(store: Redis) -> Ledger:
    ledger = Ledger(store)
    await ledger.mark_ready()
    return ledger
