"""Transactions, and the borders between tenants, on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from ulid import ULID

from services.auth.passwords import Passwords
from services.auth.store.models import (
    ApiKey,
    LoginAttempt,
    LoginSession,
    RefreshToken,
    Tenant,
    User,
    UserRole,
)
from services.auth.store.users import UserRecords
from services.rpc.errors import DependencyUnavailable
from services.sql.database import Database, parse_url
from tests.auth.conftest import add_user

NOW = datetime.now(UTC)


async def test_an_error_undoes_the_transaction(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as session:
            session.add(Tenant(tenant_id=str(ULID()), name="t", create_time=NOW))
            await session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM tenants")) == 0


async def test_writers_that_read_first_wait_for_each_other(database: Database) -> None:
    """Each reads the count and writes one more: none is lost, none fails as locked."""
    subject = bytes(32)
    async with database.writing() as session:
        session.add(LoginAttempt(subject=subject, failures=0, last_time=NOW))

    async def one_more() -> None:
        async with database.writing() as session:
            attempt = await session.get_one(LoginAttempt, subject, with_for_update=True)
            attempt.failures += 1

    await asyncio.gather(*(one_more() for _ in range(20)))
    async with database.reading() as session:
        assert (await session.get_one(LoginAttempt, subject)).failures == 20


async def test_times_come_back_in_utc_and_naive_ones_are_refused(database: Database) -> None:
    async with database.writing() as session:
        session.add(Tenant(tenant_id="t", name="t", create_time=NOW))
    async with database.reading() as session:
        stored = (await session.get_one(Tenant, "t")).create_time
    assert (stored, stored.tzinfo) == (NOW, UTC)
    with pytest.raises(Exception, match="needs its zone"):
        async with database.writing() as session:
            session.add(Tenant(tenant_id="u", name="u", create_time=NOW.replace(tzinfo=None)))


async def test_a_database_that_is_gone_is_a_typed_error() -> None:
    database = Database(parse_url("postgresql+asyncpg://parley:sesame@127.0.0.1:1/parley"))
    with pytest.raises(DependencyUnavailable):
        async with database.reading() as session:
            await UserRecords(session).count()
    await database.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_lost_connection_is_a_typed_error_and_the_next_call_gets_a_new_one(
    database: Database,
) -> None:
    with pytest.raises(DependencyUnavailable):
        async with database.reading() as session:
            await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    async with database.reading() as session:
        assert await UserRecords(session).count() == 0


async def test_a_fault_of_ours_is_not_taken_for_the_databases_absence(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.reading() as session:
            await session.execute(text("SELECT nonsense FROM users"))


async def test_a_user_is_found_only_in_the_own_tenant(database: Database, passwords: Passwords) -> None:
    ada = await add_user(database, passwords, "ada", "user")
    bob = await add_user(database, passwords, "bob", "user")
    async with database.reading() as session:
        records = UserRecords(session)
        assert (await records.by_id(ada.tenant_id, ada.user_id)) is not None
        assert (await records.by_id(bob.tenant_id, ada.user_id)) is None


@pytest.mark.parametrize("kind", ["role", "session", "key", "token"])
async def test_no_row_can_refer_to_another_tenants(
    database: Database, passwords: Passwords, kind: str
) -> None:
    ada = await add_user(database, passwords, "ada", "user")
    stranger = (await add_user(database, passwords, "bob", "user")).tenant_id
    login = LoginSession(
        session_id="s", tenant_id=ada.tenant_id, user_id=ada.user_id, create_time=NOW, expire_time=NOW
    )
    async with database.writing() as session:
        session.add(login)
    rows = {
        "role": UserRole(user_id=ada.user_id, role="admin", tenant_id=stranger),
        "session": LoginSession(
            session_id="x", tenant_id=stranger, user_id=ada.user_id, create_time=NOW, expire_time=NOW
        ),
        "key": ApiKey(
            key_id="k",
            tenant_id=stranger,
            user_id=ada.user_id,
            name="k",
            prefix="p",
            digest=bytes(32),
            scopes=[],
            create_time=NOW,
        ),
        "token": RefreshToken(
            digest=bytes(32), tenant_id=stranger, session_id="s", create_time=NOW, expire_time=NOW
        ),
    }
    with pytest.raises(IntegrityError):
        async with database.writing() as session:
            session.add(rows[kind])


async def test_two_users_cannot_share_a_name_however_it_is_spelled(
    database: Database, passwords: Passwords
) -> None:
    await add_user(database, passwords, "Ada", "user")
    with pytest.raises(IntegrityError):
        await add_user(database, passwords, "ADA", "user")


async def test_everything_but_failed_logins_revocations_and_the_audit_s_head_belongs_to_a_tenant() -> None:
    without = {name for name, table in User.metadata.tables.items() if "tenant_id" not in table.columns}
    assert without == {"login_attempts", "revocations", "audit_chain"}
