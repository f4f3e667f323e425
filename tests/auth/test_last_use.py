"""When keys were last used, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ulid import ULID

from services.auth.last_use import LastUse
from services.auth.passwords import Passwords
from services.auth.store.models import ApiKey
from services.sql.database import Database
from tests.auth.conftest import FakeClock, add_user


@pytest.fixture
async def key_id(database: Database, passwords: Passwords) -> str:
    user = await add_user(database, passwords, "ada", "user")
    key = ApiKey(
        key_id=str(ULID()),
        tenant_id=user.tenant_id,
        user_id=user.user_id,
        name="k",
        prefix="parley_abcdefghij",
        digest=bytes(32),
        scopes=[],
        create_time=datetime.now(UTC),
    )
    async with database.writing() as session:
        session.add(key)
    return key.key_id


async def stored(database: Database, key_id: str) -> datetime | None:
    async with database.reading() as session:
        return (await session.get_one(ApiKey, key_id)).last_use_time


async def test_a_use_is_written_to_the_minute_and_only_by_a_flush(
    database: Database, clock: FakeClock, key_id: str
) -> None:
    uses = LastUse(database, clock)
    uses.note(key_id)
    assert await stored(database, key_id) is None
    await uses.flush()
    assert await stored(database, key_id) == clock().replace(second=0, microsecond=0)


async def test_it_is_written_once_a_minute(database: Database, clock: FakeClock, key_id: str) -> None:
    uses = LastUse(database, clock)
    for _ in range(3):
        uses.note(key_id)
        await uses.flush()
    assert uses.waiting == 0
    clock.advance(minutes=1)
    uses.note(key_id)
    assert uses.waiting == 1
    await uses.flush()
    assert await stored(database, key_id) == clock().replace(second=0, microsecond=0)


async def test_a_later_use_that_another_replica_wrote_stands(
    database: Database, clock: FakeClock, key_id: str
) -> None:
    late = LastUse(database, clock)
    late.note(key_id)
    clock.advance(minutes=5)
    other = LastUse(database, clock)
    other.note(key_id)
    await other.flush()
    await late.flush()
    assert await stored(database, key_id) == clock().replace(second=0, microsecond=0)


async def test_a_use_of_a_key_that_is_gone_is_nothing(database: Database, clock: FakeClock) -> None:
    uses = LastUse(database, clock)
    uses.note(str(ULID()))
    await uses.flush()
    assert uses.waiting == 0
