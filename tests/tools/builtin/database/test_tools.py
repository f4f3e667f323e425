"""The tools, on each kind of source."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.rpc.errors import PermissionMissing
from services.tools.builtin.database.sources import Sources
from services.tools.builtin.database.sqlite import SqliteSource
from services.tools.builtin.database.toolset import (
    database_tools,
)
from services.tools.database_errors import (
    SourceUnknown,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    TooManyRows,
)
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools.builtin.database.conftest import LIMITS, Shop, call_of, shop_of


async def test_rows_are_read(shop: Shop) -> None:
    found = await shop.use(
        "db_query", query="SELECT name, price, sold FROM lamps ORDER BY price;", source="shop"
    )
    assert found.to_json() == (
        '{"columns":["name","price","sold"],"rows":[["oil",12.0,null],["gas",30.5,3],["wire",99.9,70]],'
        '"truncated":false,"source":"shop","row_count":3}'
    ).replace("12.0", "12.0" if shop.mark == "$" else "12")


async def test_parameters_are_bound_and_never_read_as_sql(shop: Shop) -> None:
    assert await shop.query("SELECT name FROM lamps WHERE price < ? AND name <> ?", 50, "oil") == [["gas"]]
    evil = "oil'; DROP TABLE lamps; --"
    assert await shop.query("SELECT name FROM lamps WHERE name = ?", evil) == []
    assert len(await shop.query("SELECT * FROM lamps")) == 3


async def test_no_rows_still_have_columns(shop: Shop) -> None:
    found = await shop.use("db_query", query="SELECT name AS lamp, sold FROM lamps WHERE price > 1000")
    assert (found.columns, found.rows, found.truncated) == (["lamp", "sold"], [], False)


async def test_two_columns_may_have_one_name(shop: Shop) -> None:
    found = await shop.use("db_query", query="SELECT 1 AS a, 2 AS a")
    assert (found.columns, found.rows) == (["a", "a"], [[1, 2]])


async def test_other_queries_than_select_are_read_too(shop: Shop) -> None:
    assert await shop.query("VALUES (1, 'a'), (2, 'b')") == [[1, "a"], [2, "b"]]
    assert await shop.query("WITH x AS (SELECT 7 AS n) SELECT n FROM x -- a word at the end") == [[7]]


async def test_rows_are_cut_at_what_was_asked_for_and_at_what_may_be(shop: Shop) -> None:
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n FROM c"
    assert await shop.query(many, max_rows=2) == [[1], [2]]
    found = await shop.use("db_query", query=many, max_rows=5000)
    assert (found.row_count, found.truncated) == (50, True)


async def test_rows_are_cut_at_their_size(shop: Shop) -> None:
    wide = "SELECT name, 'x' || ? FROM lamps, (VALUES (1), (2), (3)) AS v"
    found = await shop.use("db_query", query=shop.placed(wide), params=["x" * 1900])
    assert (found.row_count, found.truncated) == (5, True)
    with pytest.raises(StatementFailed, match="larger than 2000 bytes"):
        await shop.query("SELECT ?", "x" * 3000)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM lamps",
        "UPDATE lamps SET price = 0",
        "INSERT INTO lamps VALUES ('new', 1, 1)",
        "WITH gone AS (SELECT 1) DELETE FROM lamps",
        "DROP TABLE lamps",
        "CREATE TABLE more (n integer)",
        "CREATE TEMPORARY TABLE more (n integer)",
        "ALTER TABLE lamps ADD COLUMN x integer",
        "SELECT 1; DROP TABLE lamps",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "VACUUM",
        "ANALYZE",
        "SAVEPOINT a",
        "DELETE FROM lamps RETURNING name",
    ],
)
async def test_db_query_only_reads(shop: Shop, sql: str) -> None:
    with pytest.raises(StatementNotAllowed):
        await shop.query(sql)
    assert await shop.query("SELECT count(*) FROM lamps") == [[3]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FROM WHERE",
        "SELECT nope FROM lamps",
        "SELECT * FROM nothing",
        "SELECT ?",
        "SELECT 1) AS a, (SELECT 2",
        "SELECT 1 /* no end",
        "",
        " ; ",
    ],
)
async def test_what_is_no_query_is_told(shop: Shop, sql: str) -> None:
    if shop.mark == "?" and sql == "SELECT 1 /* no end":
        assert await shop.query(sql) == [[1]]  # SQLite ends a comment at the end
        return
    with pytest.raises((StatementInvalid, StatementNotAllowed, ValueError)):
        await shop.query(sql)


async def test_rows_are_changed_and_stay_so(shop: Shop) -> None:
    assert await shop.execute("UPDATE lamps SET price = ? WHERE name = ?", 14, "oil") == 1
    assert await shop.execute("INSERT INTO lamps (name, price) VALUES (?, ?)", "neon", 7.5) == 1
    assert await shop.execute("DELETE FROM lamps WHERE name = ?;", "gas") == 1
    assert await shop.query("SELECT name FROM lamps ORDER BY price") == [["neon"], ["oil"], ["wire"]]


async def test_a_statement_that_fails_changes_nothing(shop: Shop) -> None:
    with pytest.raises(StatementFailed):
        await shop.execute("INSERT INTO lamps VALUES ('new', 1, 1), ('oil', 2, 2)")
    assert await shop.query("SELECT count(*) FROM lamps") == [[3]]


async def test_a_statement_may_change_only_so_many_rows(shop: Shop) -> None:
    assert await shop.execute("INSERT INTO numbers VALUES (1), (2), (3)") == 3
    with pytest.raises(TooManyRows) as caught:
        await shop.execute("INSERT INTO numbers VALUES (1), (2), (3), (4)")
    assert caught.value.metadata == {"source": "shop", "limit": "3"}
    assert await shop.query("SELECT count(*) FROM numbers") == [[3]]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "DROP TABLE lamps",
        "CREATE TABLE more (n integer)",
        "TRUNCATE lamps",
        "DELETE FROM lamps; DROP TABLE lamps",
        "DELETE FROM lamps RETURNING name",
        "COMMIT",
        "/* so */ DROP TABLE lamps",
    ],
)
async def test_db_execute_changes_rows_and_nothing_else(shop: Shop, sql: str) -> None:
    with pytest.raises((StatementNotAllowed, StatementInvalid)):
        await shop.execute(sql)
    assert await shop.query("SELECT count(*) FROM lamps") == [[3]]


async def test_a_source_that_may_only_be_read_is_not_changed(shop: Shop) -> None:
    reading = shop_of(shop.source, shop.call, writable=False)
    with pytest.raises(StatementNotAllowed, match="only be read"):
        await reading.execute("DELETE FROM lamps")
    assert len(await reading.query("SELECT * FROM lamps")) == 3


async def test_the_schema_is_told(shop: Shop) -> None:
    everything = await shop.use("db_schema", source="shop")
    assert [table.name for table in everything.tables] == ["lamps", "numbers"]
    lamps = (await shop.use("db_schema", source="shop", table="lamps")).tables
    assert [(c.name, c.nullable, c.primary_key) for c in lamps[0].columns] == [
        ("name", False, True),
        ("price", False, False),
        ("sold", True, False),
    ]
    assert len(lamps) == 1
    assert (await shop.use("db_schema", source="shop", table="nothing")).tables == []


async def test_the_sources_are_listed(shop: Shop) -> None:
    [listed] = (await shop.use("db_schema")).sources
    assert (listed.name, listed.kind, listed.writable, listed.description) == (
        "shop",
        shop.source.kind,
        True,
        "Lamps.",
    )


async def test_a_source_needs_its_own_permission(
    shop: Shop, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    stranger = shop_of(shop.source, call_of(tokens, workspaces, "tools.database.db_query"))
    with pytest.raises(PermissionMissing):
        await stranger.query("SELECT 1", source="shop")
    with pytest.raises(SourceUnknown):
        await stranger.query("SELECT 1")
    assert (await stranger.use("db_schema")).sources == []
    friend = shop_of(shop.source, call_of(tokens, workspaces, "tools.database.sources.shop"))
    assert await friend.query("SELECT 1", source="shop") == [[1]]


async def test_an_unknown_source_is_told_with_the_nearest(shop: Shop) -> None:
    with pytest.raises(SourceUnknown) as caught:
        await shop.query("SELECT 1", source="shopp")
    assert caught.value.metadata == {"source": "shopp", "nearest": "shop"}


async def test_many_at_once(shop: Shop) -> None:
    found = await asyncio.gather(*(shop.query("SELECT ?", f"{number}") for number in range(12)))
    assert found == [[[f"{number}"]] for number in range(12)]


def test_without_a_source_the_tools_say_so() -> None:
    assert all("DATABASE_SOURCES" in tool.unavailable for tool in database_tools(Sources({})))


@pytest.mark.parametrize("tool", ["db_query", "db_execute", "db_schema"])
async def test_the_example_gives_what_it_says(
    tool: str, tmp_path: Path, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    """On the shop of the guide."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE lamps (name text PRIMARY KEY, price real)")
        connection.execute("INSERT INTO lamps VALUES ('oil', 12.5), ('wire', 99.9)")
        connection.commit()
    source = SqliteSource("shop", tmp_path / "shop.db", LIMITS)
    shop = shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    [example] = shop.tools[tool].examples
    assert json.loads((await shop.use(tool, **example.arguments)).to_json()) == example.result
