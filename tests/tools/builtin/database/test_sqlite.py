from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from services.tools.builtin.database.sources import NamedSource, Sources
from services.tools.builtin.database.sqlite import SqliteSource
from services.tools.builtin.database.toolset import database_tools
from services.tools.database_errors import (
    SourceUnavailable,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    StatementTimeout,
)
from services.tools.runner import Invocation
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools.builtin.database.conftest import LIMITS, Shop, call_of, shop_of
from tests.tools.conftest import discard


@pytest.fixture
def shop(lamps_file: Path, tokens: TokenMaker, workspaces: Workspaces) -> Shop:
    source = SqliteSource("shop", lamps_file, LIMITS)
    return shop_of(source, call_of(tokens, workspaces, "tools.database.*"))


@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH '/tmp/other.db' AS other",
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "VACUUM INTO '/tmp/copy.db'",
        "PRAGMA query_only = OFF",
        "PRAGMA journal_mode = WAL",
        "PRAGMA writable_schema = ON",
        "SELECT * FROM pragma_database_list",
        "SELECT load_extension('/tmp/evil.so')",
        "SELECT fts3_tokenizer('simple')",
        "EXPLAIN DELETE FROM lamps",
        "REINDEX lamps",
    ],
)
async def test_what_sqlite_could_do_otherwise_is_refused(shop: Shop, sql: str) -> None:
    with pytest.raises((StatementNotAllowed, StatementInvalid)):
        await shop.query(sql)
    with pytest.raises((StatementNotAllowed, StatementInvalid)):
        await shop.execute(sql)
    assert await shop.query("SELECT count(*) FROM lamps") == [[3]]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE sqlite_schema SET sql = 'evil'",
        "DELETE FROM sqlite_schema",
        "CREATE TRIGGER t AFTER DELETE ON lamps BEGIN SELECT 1; END",
        "REPLACE INTO lamps SELECT name, 0, load_extension('x') FROM lamps",
    ],
)
async def test_changes_stay_within_rows(shop: Shop, sql: str) -> None:
    with pytest.raises((StatementNotAllowed, StatementInvalid)):
        await shop.execute(sql)
    assert await shop.query("SELECT sum(price) > 100 FROM lamps") == [[1]]


async def test_a_statement_without_end_is_stopped(
    lamps_file: Path, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    source = SqliteSource("shop", lamps_file, replace(LIMITS, seconds=0.05))
    hasty = shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    with pytest.raises(StatementTimeout) as caught:
        await hasty.query(endless)
    assert caught.value.metadata["timeout_seconds"] == "0.05"


async def test_values_that_swell_are_refused(shop: Shop) -> None:
    for sql in ("SELECT zeroblob(100000000)", "SELECT replace(hex(zeroblob(8000000)), '0', 'xxx')"):
        with pytest.raises(StatementFailed):
            await shop.query(sql)


async def test_sorting_more_than_memory_may_hold_fails(shop: Shop) -> None:
    swelling = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 400) "
        "SELECT max(length(b)) FROM (SELECT randomblob(1000000) AS b FROM c ORDER BY b)"
    )
    with pytest.raises((StatementFailed, StatementTimeout)):
        await shop.query(swelling)


async def test_what_sqlite_files_hold_beside_plain_tables(shop: Shop, lamps_file: Path) -> None:
    owner = sqlite3.connect(lamps_file)
    owner.executescript(
        "PRAGMA journal_mode = WAL; CREATE VIRTUAL TABLE notes USING fts5(text);"
        "INSERT INTO notes VALUES ('light the oil lamp'), ('buy wire');"
        "CREATE VIEW cheap AS SELECT name FROM lamps WHERE price < 20;"
        "CREATE TABLE log (what text);"
        "CREATE TRIGGER told AFTER UPDATE ON lamps BEGIN INSERT INTO log VALUES (new.name); END"
    )
    owner.close()
    assert await shop.query("SELECT text FROM notes WHERE notes MATCH ?", "lamp") == [["light the oil lamp"]]
    assert await shop.query("SELECT value FROM json_each('[1, 2]')") == [[1], [2]]
    assert await shop.query("SELECT name FROM cheap") == [["oil"]]
    assert await shop.query("EXPLAIN QUERY PLAN SELECT * FROM log")
    assert await shop.execute("UPDATE lamps SET sold = 1 WHERE name = ?", "oil") == 1
    assert await shop.query("SELECT what FROM log") == [["oil"]]
    assert await shop.execute("DELETE FROM notes WHERE notes MATCH ?", "wire") == 1
    assert await shop.execute("WITH x AS (SELECT 'oil' AS name) DELETE FROM lamps WHERE name IN x") == 1


async def test_values_that_json_has_not(shop: Shop) -> None:
    assert await shop.query("SELECT x'00ff', 9e999, -9e999, NULL, 1.5, 9007199254740993") == [
        ["\\x00ff", "Infinity", "-Infinity", None, 1.5, 9007199254740993]
    ]


async def test_parameters_that_do_not_fit(shop: Shop) -> None:
    with pytest.raises(StatementInvalid):
        await shop.query("SELECT ?", 2**80)
    with pytest.raises(StatementInvalid):
        await shop.query("SELECT 1", "one too many")


async def test_a_file_that_is_locked_fails(
    lamps_file: Path, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    other = sqlite3.connect(lamps_file)
    other.execute("BEGIN EXCLUSIVE")
    source = SqliteSource("shop", lamps_file, replace(LIMITS, seconds=0.05))
    hasty = shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    with pytest.raises(StatementFailed, match="locked"):
        await hasty.execute("DELETE FROM lamps")
    other.close()


@pytest.mark.parametrize("content", [None, b"this is no database at all, whatever its name says" * 100])
async def test_a_file_that_is_no_database_is_unavailable(
    tmp_path: Path, tokens: TokenMaker, workspaces: Workspaces, content: bytes | None
) -> None:
    path = tmp_path / "secret-place.db"
    if content is not None:
        path.write_bytes(content)
    shop = shop_of(SqliteSource("shop", path, LIMITS), call_of(tokens, workspaces, "tools.database.*"))
    with pytest.raises(SourceUnavailable) as caught:
        await shop.query("SELECT 1 FROM lamps")
    assert "secret-place" not in caught.value.message
    assert path.exists() == (content is not None)


async def test_statements_run_in_a_worker(lamps_file: Path, make_runner: object, tokens: TokenMaker) -> None:
    sources = Sources({"shop": NamedSource("shop", SqliteSource("shop", lamps_file, LIMITS), writable=True)})
    runner = make_runner(*database_tools(sources))  # type: ignore[operator]
    principal = tokens.principal("tools.*")
    for name, arguments, result in (
        (
            "db_execute",
            '{"statement": "DELETE FROM lamps WHERE name = ?", "params": ["oil"]}',
            '"changed_rows":1',
        ),
        ("db_query", '{"query": "SELECT name FROM lamps"}', '[["gas"],["wire"]]'),
        ("db_schema", '{"source": "shop", "table": "numbers"}', '"name":"numbers"'),
    ):
        assert (
            result in (await runner.run(Invocation("1", name, arguments), principal, None, discard)).content
        )
    with pytest.raises(StatementNotAllowed):
        await runner.run(
            Invocation("1", "db_query", '{"query": "DROP TABLE lamps"}'), principal, None, discard
        )


async def test_a_refused_change_is_undone_before_its_error_is_forgotten(shop: Shop, lamps_file: Path) -> None:
    with pytest.raises(StatementNotAllowed) as caught:
        await shop.execute("DELETE FROM lamps RETURNING name")
    other = sqlite3.connect(lamps_file, timeout=0, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # refused while another connection has a transaction
    other.close()
    assert not lamps_file.with_name(f"{lamps_file.name}-journal").exists()
    assert caught.value.metadata["source"] == "shop"  # so long the error is held, and what it holds
