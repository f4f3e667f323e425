"""Usage arrives in the database exactly once, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from redis.asyncio import Redis
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from ulid import ULID

from services.auth.store.usage import UsageRecords, UsageSelection
from services.auth.usage.consumer import GROUP, UsageConsumer
from services.auth.usage.history import StoredHistory
from services.ledger.ledger import USAGE
from services.rpc.errors import DependencyUnavailable
from services.rpc.tasks import end_task
from services.sql.database import Database, parse_url
from tests.auth.usage.conftest import ADA, BOB, TENANT, record, spend

ALL = UsageSelection(TENANT, date(2026, 11, 1), date(2026, 11, 30))


async def total(database: Database, selection: UsageSelection = ALL) -> Any:
    async with database.reading() as session:
        return await UsageRecords(session).total(selection)


async def drain(consumer: UsageConsumer) -> int:
    await consumer._join()
    counted = 0
    while step := await consumer.step(block_ms=1):
        counted += step
    return counted


async def test_records_are_counted_and_acknowledged(
    consumer: UsageConsumer, store: Redis, database: Database
) -> None:
    await spend(store, *(record() for _ in range(7)), record(tool_calls=2, requests=0, model=""))
    assert await drain(consumer) == 8
    found = await total(database)
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (7, 80, 40)
    assert (found.tool_calls, found.cost_micros) == (2, 24)
    assert (await store.xpending(USAGE, GROUP))["pending"] == 0


async def test_a_record_that_comes_again_counts_once(
    consumer: UsageConsumer, store: Redis, database: Database
) -> None:
    one = record()
    await spend(store, one, one)
    assert await drain(consumer) == 1
    await spend(store, one)
    assert await drain(consumer) == 0
    assert (await total(database)).requests == 1


async def test_while_the_database_is_away_nothing_is_lost(store: Redis, database: Database) -> None:
    away = Database(parse_url("postgresql+asyncpg://parley@127.0.0.1:1/parley"))
    consumer = UsageConsumer(store, away)
    await spend(store, record())
    with pytest.raises(DependencyUnavailable):
        await drain(consumer)
    assert (await store.xpending(USAGE, GROUP))["pending"] == 1
    await away.close()
    consumer._database = database
    assert await consumer.step(block_ms=1) == 1
    assert (await store.xpending(USAGE, GROUP))["pending"] == 0


async def test_what_a_dead_replica_took_is_taken_over(store: Redis, database: Database) -> None:
    await spend(store, record())
    dead = UsageConsumer(store, database)
    await dead._join()
    await store.xreadgroup(GROUP, "dead", {USAGE: ">"})
    # As if it had been idle for long: the store's own way to set it.
    (pending,) = await store.xpending_range(USAGE, GROUP, "-", "+", 1)
    await store.xclaim(USAGE, GROUP, "dead", 0, [pending["message_id"]], idle=60_000)
    assert await UsageConsumer(store, database).step(block_ms=1) == 1


async def test_replicas_that_count_the_same_record_at_once_count_it_once(
    database_url: str, database: Database
) -> None:
    other = Database(parse_url(database_url))
    one = record()
    row = {name: getattr(one, name) for name in ("record_id", "tenant_id", "user_id", "key_id", "model")}
    row |= {"end_time": one.end_time.ToDatetime(UTC), "requests": 1, "prompt_tokens": 10, "tool_calls": 0}
    row |= {"cached_prompt_tokens": 0, "completion_tokens": 5, "cost_micros": 0}

    async def count(into: Database) -> int:
        async with into.writing() as session:
            return await UsageRecords(session).add([row])

    counts = await asyncio.gather(*(count(into) for into in (database, other) * 3))
    await other.close()
    assert sum(counts) == 1
    assert (await total(database)).requests == 1


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"record": b"\xff\xff"},
        {"record": b""},
        {"record": record(record_id="../../etc").SerializeToString()},
        {"record": record(tenant_id="' OR 1=1 --").SerializeToString()},
        {"record": record(end_time=Timestamp(seconds=2**62)).SerializeToString()},
        {"record": record(end_time=Timestamp(nanos=-1)).SerializeToString()},
    ],
    ids=["none", "no message", "empty", "a path", "SQL", "beyond time", "torn time"],
)
async def test_what_is_no_record_is_passed_over(
    consumer: UsageConsumer, store: Redis, database: Database, fields: dict[str, bytes]
) -> None:
    await store.xadd(USAGE, fields or {"other": b""})
    await spend(store, record())
    assert await drain(consumer) == 1
    assert (await store.xpending(USAGE, GROUP))["pending"] == 0


async def test_a_running_consumer_survives_a_store_that_lost_everything(
    consumer: UsageConsumer, store: Redis, database: Database
) -> None:
    running = asyncio.create_task(consumer.run())
    try:
        for expected in (1, 2):
            await spend(store, record())
            async with asyncio.timeout(20):
                while (await total(database)).requests < expected:  # noqa: ASYNC110 - looks at a database
                    await asyncio.sleep(0)
            await store.flushall()
    finally:
        await end_task(running)
    assert (await total(database)).requests == 2


class Deadlocked(Database):
    """Of two transactions that wait for each other, PostgreSQL ends this one, once."""

    ended = False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        if not self.ended:
            self.ended = True
            raise DBAPIError("INSERT", {}, Exception("deadlock detected"))
        async with super().writing() as session:
            yield session


async def test_a_running_consumer_survives_a_transaction_that_was_ended(
    store: Redis, database: Database
) -> None:
    """A chore that dies takes the service with it: that is for faults of ours."""
    deadlocked = Deadlocked(database.engine.url)
    running = asyncio.create_task(UsageConsumer(store, deadlocked).run())
    try:
        await spend(store, record())
        async with asyncio.timeout(20):
            while not (await total(database)).requests:  # noqa: ASYNC110 - looks at a database
                await asyncio.sleep(0)
    finally:
        await end_task(running)
        await deadlocked.close()
    assert deadlocked.ended
    assert (await total(database)).requests == 1


async def test_the_history_names_the_ledger_s_accounts(
    consumer: UsageConsumer, store: Redis, database: Database
) -> None:
    key = str(ULID())
    await spend(store, record(key_id=key), record(user_id=BOB), record(day=22), record(model=""))
    await drain(consumer)
    found = await StoredHistory(database).since(datetime(2026, 11, 23, tzinfo=UTC))
    tokens = {use.account: (use.tokens, use.nanos) for use in found}
    assert tokens == {
        f"key/{key}": (15, 3000),
        f"user/{ADA}": (30, 6000),
        f"user/{BOB}": (15, 3000),
        f"model/{TENANT}/demo": (30, 6000),
        f"tenant/{TENANT}": (45, 9000),
    }
