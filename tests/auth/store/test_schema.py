"""Migrations, forward and back, on both databases."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from services.auth.errors import StartError
from services.auth.store.database import Database, open_engine, parse_url
from services.auth.store.models import Record
from services.auth.store.schema import HEAD, NONE, migrate


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Record.metadata))


async def test_forward_back_and_forward_again(database_url: str) -> None:
    url = parse_url(database_url)
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


async def test_the_migrations_give_what_the_models_say(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_what_is_up_to_date_changes_nothing(database: Database, database_url: str) -> None:
    await migrate(parse_url(database_url))
    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_replicas_that_start_together_wait_for_each_other(database_url: str) -> None:
    url = parse_url(database_url)
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


async def test_a_revision_that_is_not_there_is_told_in_a_line(database_url: str) -> None:
    with pytest.raises(StartError, match="there is no revision 0815: choose one of head, base, 0"):
        await migrate(parse_url(database_url), "0815")


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
