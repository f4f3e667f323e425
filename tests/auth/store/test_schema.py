"""Migrations, forward and back, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from services.auth.errors import StartError
from services.auth.store.models import Record
from services.auth.store.schema import migrate
from services.sql.database import Database, open_engine, parse_url
from services.sql.schema import HEAD, NONE

OLD_ROWS = (
    "INSERT INTO tenants (tenant_id, name, create_time) VALUES"
    " ('t1', 'first', '2026-01-01 00:00:00'), ('t2', 'second', '2026-01-02 00:00:00')",
    "INSERT INTO users (user_id, tenant_id, username, canonical_username, password_hash, create_time) VALUES"
    " ('u1', 't1', 'u1', 'u1', 'h', '2026-01-01 00:00:00'),"
    " ('u2', 't1', 'u2', 'u2', 'h', '2026-01-01 00:00:00')",
    "INSERT INTO user_roles (user_id, role, tenant_id) VALUES ('u1', 'user', 't1'), ('u2', 'user', 't1')",
)


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Record.metadata))


async def test_forward_back_and_forward_again(empty_database_url: str) -> None:
    url = parse_url(empty_database_url)
    engine = open_engine(url)
    for target, expected in (
        (HEAD, set(Record.metadata.tables)),
        (NONE, set()),
        (HEAD, set(Record.metadata.tables)),
    ):
        await migrate(url, target)
        async with engine.connect() as connection:
            assert await connection.run_sync(tables) == expected
    await engine.dispose()


async def test_what_was_there_stays_and_the_first_tenant_is_the_root(empty_database_url: str) -> None:
    url = parse_url(empty_database_url)
    await migrate(url, "0002")
    engine = open_engine(url)
    async with engine.execution_options(writes=True).begin() as connection:
        for statement in OLD_ROWS:
            await connection.execute(text(statement))
    await migrate(url, "0003")
    async with engine.connect() as connection:
        roots = (await connection.execute(text("SELECT name FROM tenants WHERE root"))).scalars().all()
        kinds = (await connection.execute(text("SELECT DISTINCT kind FROM users"))).scalars().all()
    async with engine.execution_options(writes=True).begin() as connection:
        await connection.execute(text("UPDATE users SET password_hash = NULL WHERE user_id = 'u2'"))
    await migrate(url, "0002")
    async with engine.connect() as connection:
        users = (await connection.execute(text("SELECT user_id FROM users"))).scalars().all()
        given = (await connection.execute(text("SELECT user_id FROM user_roles"))).scalars().all()
    await engine.dispose()
    assert (roots, kinds) == (["first"], ["person"])
    assert (users, given) == (["u1"], ["u1"])  # who has no password cannot go back


async def test_the_migrations_give_what_the_models_say(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_what_is_up_to_date_changes_nothing(database: Database, database_url: str) -> None:
    await migrate(parse_url(database_url))
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_replicas_that_start_together_wait_for_each_other(empty_database_url: str) -> None:
    url = parse_url(empty_database_url)
    await asyncio.gather(*(migrate(url) for _ in range(4)))
    engine = open_engine(url)
    async with engine.connect() as connection:
        assert await connection.run_sync(tables) == set(Record.metadata.tables)
    await engine.dispose()


async def test_a_newer_schema_stops_the_start(database: Database, database_url: str) -> None:
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartError, match="at revision 9999, which this program does not know") as caught:
        await migrate(parse_url(database_url))
    assert "\n" not in str(caught.value)
    async with database.reading() as session:
        assert await session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


async def test_a_revision_that_is_not_there_is_told_in_a_line(empty_database_url: str) -> None:
    with pytest.raises(StartError, match="there is no revision 0815: choose one of head, base, 0"):
        await migrate(parse_url(empty_database_url), "0815")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://parley:sesame@127.0.0.1:1/parley",
        "sqlite+aiosqlite:////proc/nowhere/auth.db",
    ],
)
async def test_an_unreachable_database_is_told_in_a_line_without_its_password(url: str) -> None:
    with pytest.raises(StartError, match="cannot be used") as caught:
        await migrate(parse_url(url))
    assert "\n" not in str(caught.value)
    assert "sesame" not in str(caught.value)


async def test_a_file_that_is_no_database_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "auth.db").write_text("not a database, though long enough to be looked at " * 20)
    with pytest.raises(StartError, match="file is not a database"):
        await migrate(parse_url(f"sqlite+aiosqlite:///{tmp_path / 'auth.db'}"))
