"""Rollouts in both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

from parley.inference.v1 import rollout_pb2
from services.inference.rollouts.errors import RolloutRunning
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.schema import migrate
from services.sql.database import Database, parse_url
from services.sql.schema import NONE
from tests.inference.rollouts.conftest import ALIAS, halves
from tests.postgresql import new_database, sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "rollouts.db")
        return
    with new_database(request.getfixturevalue("postgresql")) as url:
        yield url


async def test_of_rollouts_that_begin_at_once_one_is_kept(database_url: str) -> None:
    url = parse_url(database_url)
    await migrate(url)
    database = Database(url)
    library, rollout = RolloutLibrary(database), rollout_pb2.Rollout(name=ALIAS, variants=halves())
    outcomes = await asyncio.gather(
        *(library.create("tenant-1", rollout) for _ in range(4)), return_exceptions=True
    )
    (begun,) = [each for each in outcomes if isinstance(each, rollout_pb2.Rollout)]
    assert sum(isinstance(each, RolloutRunning) for each in outcomes) == 3
    assert await library.get("tenant-1", ALIAS) == begun
    assert await library.all() == [("tenant-1", begun)]
    before = await library.changes()
    await library.give("tenant-1", ALIAS, rollout_pb2.ROLLOUT_STATE_PROMOTED, lambda _: "candidate")
    after = await library.changes()
    await library.give("tenant-1", ALIAS, rollout_pb2.ROLLOUT_STATE_PROMOTED, lambda _: "candidate")
    assert (before == after, after == await library.changes()) == (False, True)
    await library.delete("tenant-1", ALIAS)
    assert not await library.changes()
    await database.close()


async def test_the_schema_is_made_and_taken_back(database_url: str) -> None:
    url = parse_url(database_url)
    for target, tables in (("head", {"rollouts"}), (NONE, set[str]())):
        await migrate(url, target)
        database = Database(url)
        async with database.engine.connect() as connection:
            found = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
        await database.close()
        assert found - {"rollouts_alembic_version"} == tables
