"""The tables of conversations, made by migrations and dropped by them."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from services.auth.store.schema import migrate as migrate_auth
from services.inference.conversations.models import Record
from services.inference.conversations.schema import SCHEMA, migrate
from services.sql.database import open_engine, parse_url
from services.sql.schema import NONE


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {SCHEMA.version_table}


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), Record.metadata))


async def test_the_migrations_give_what_the_models_say_and_take_it_back(empty_database_url: str) -> None:
    url = parse_url(empty_database_url)
    engine = open_engine(url)
    await migrate(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await migrate(url, NONE)
    async with engine.connect() as connection:
        left = await connection.run_sync(tables)
    await engine.dispose()
    assert (left, [each for each in found if SCHEMA.version_table not in str(each)]) == (set(), [])


async def test_the_database_may_be_that_of_the_auth_service(empty_database_url: str) -> None:
    url = parse_url(empty_database_url)
    await migrate_auth(url)
    await migrate(url)
    await migrate(url, NONE)
    engine = open_engine(url)
    async with engine.connect() as connection:
        assert {"users", "alembic_version"} <= await connection.run_sync(tables)
    await engine.dispose()
