from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from services.rpc.tls import TlsFiles
from services.tools.builtin.database.postgresql import PostgresqlSource
from services.tools.builtin.database.sources import sources_from
from services.tools.builtin.database.statements import Statement
from services.tools.database_errors import (
    SourceUnavailable,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    StatementTimeout,
)
from services.tools.settings import DatabaseSource, ToolsSettings
from services.tools.workspace import Workspaces
from tests.conftest import TokenMaker
from tests.tools.builtin.database.conftest import LIMITS, Shop, call_of, run_all, shop_of


@pytest.fixture
async def shop(lamps_url: str, tokens: TokenMaker, workspaces: Workspaces) -> object:
    source = PostgresqlSource("shop", lamps_url, LIMITS, connections=1, writable=True)
    yield shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    await source.close()


@pytest.mark.parametrize(
    "sql",
    [
        "COPY lamps TO PROGRAM 'touch /tmp/copied'",
        "COPY lamps FROM PROGRAM 'cat /etc/passwd'",
        "COPY (SELECT 1) TO '/tmp/copied'",
        "WITH gone AS (DELETE FROM lamps RETURNING *) SELECT * FROM gone",
        "SELECT * INTO more FROM lamps",
        "SELECT nextval('parley_seq')",
        "SELECT * FROM lamps FOR UPDATE",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SET transaction_read_only = off",
        "DO $$ BEGIN DELETE FROM lamps; END $$",
        "CALL nothing()",
        "LISTEN lamps",
        "REINDEX TABLE lamps",
        "SHOW all",
        "EXPLAIN ANALYZE DELETE FROM lamps",
        "PREPARE x AS DELETE FROM lamps",
        "LOCK TABLE lamps",
        "SET ROLE postgres",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
)
async def test_what_postgresql_could_do_otherwise_is_refused(shop: Shop, lamps_url: str, sql: str) -> None:
    await run_all(lamps_url, ["CREATE SEQUENCE parley_seq"])
    with pytest.raises((StatementNotAllowed, StatementInvalid, StatementFailed)):
        await shop.query(sql)
    with pytest.raises((StatementNotAllowed, StatementInvalid, StatementFailed)):
        await shop.execute(sql)
    assert await shop.query("SELECT count(*), max(price) FROM lamps") == [[3, 99.9]]


async def test_a_function_that_changes_things_cannot_in_a_query(shop: Shop, lamps_url: str) -> None:
    body = "BEGIN DELETE FROM lamps; RETURN 1; END"
    await run_all(lamps_url, [f"CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ {body} $$"])
    with pytest.raises(StatementNotAllowed, match="read-only"):
        await shop.query("SELECT sneak()")
    assert await shop.query("SELECT count(*) FROM lamps") == [[3]]


async def test_nothing_of_a_call_is_left_for_the_next(shop: Shop) -> None:
    await shop.query("SELECT set_config('statement_timeout', '0', false), pg_advisory_lock(7)")
    setting = "set_config('search_path', 'nowhere', false)"
    await shop.execute(f"INSERT INTO lamps SELECT {setting}, 1 WHERE pg_try_advisory_lock(8)")
    assert await shop.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [[0]]
    assert await shop.query("SELECT count(*) FROM lamps") == [[4]]
    assert await shop.query("SELECT current_setting('statement_timeout')") == [["5s"]]


async def test_values_that_json_has_not(shop: Shop) -> None:
    sql = (
        "SELECT 12345678901234567.25::numeric, 'NaN'::float8, DATE '2026-11-23', '\\x00ff'::bytea, "
        '\'{"a": [1, {"b": null}]}\'::jsonb, ARRAY[1, 2], 9007199254740993, NULL, 0.1::numeric'
    )
    assert await shop.query(sql) == [
        [
            *("12345678901234567.25", "NaN", "2026-11-23", "\\x00ff"),
            *({"a": [1, {"b": None}]}, [1, 2], 9007199254740993, None, 0.1),
        ]
    ]


async def test_values_that_are_hard_to_read(shop: Shop, lamps_url: str) -> None:
    assert await shop.query("SELECT length((10::numeric ^ 1900)::text) > 1900, 10::numeric ^ 60") == [
        [True, 10**60]
    ]
    with pytest.raises(StatementFailed, match="larger"):
        await shop.query("SELECT repeat('x', 300000)")
    wide = PostgresqlSource("shop", lamps_url, replace(LIMITS, row_bytes=2**16), connections=1, writable=True)
    call = shop.call
    deep = await wide.query(Statement("SELECT (repeat('9', 5000))::numeric AS n"), call)
    assert deep.rows == [["9" * 5000]]
    with pytest.raises(StatementFailed, match="nested"):
        await wide.query(Statement("SELECT (repeat('[', 1000) || repeat(']', 1000))::jsonb"), call)
    await wide.close()


async def test_parameters_fit_the_types_they_are_for(shop: Shop) -> None:
    sql = (
        "SELECT $1::int8, $2::float8, $3::bool, $4::numeric, $5::timestamptz = '2026-11-23 00:00Z', $6::jsonb"
    )
    assert await shop.query(sql, 1, 2, True, 3.25, "2026-11-23T00:00:00Z", '{"a": 1}') == [
        [1, 2, True, 3.25, True, {"a": 1}]
    ]
    assert await shop.query("SELECT $1::int8, $2::text", None, 5) == [[None, "5"]]
    for value in ("one", 2**80, 1.5):
        with pytest.raises(StatementInvalid):
            await shop.query("SELECT $1::int4", value)
    with pytest.raises(StatementInvalid, match="1 placeholders"):
        await shop.query("SELECT $1::int4")


async def test_a_statement_without_end_is_stopped(
    lamps_url: str, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    limits = replace(LIMITS, seconds=0.05)
    source = PostgresqlSource("shop", lamps_url, limits, connections=1, writable=True)
    hasty = shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    with pytest.raises(StatementTimeout):
        await hasty.query("SELECT pg_sleep(60)")
    with pytest.raises(StatementTimeout):
        await hasty.execute("UPDATE lamps SET price = 0 WHERE pg_sleep(60) IS NOT NULL")
    await source.close()


async def test_a_cancelled_statement_ends_on_the_server(shop: Shop, lamps_url: str) -> None:
    watcher = await asyncpg.connect(lamps_url)
    sleeping = asyncio.create_task(shop.query("SELECT pg_sleep(60)"))
    running = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        while not await watcher.fetchval(f"{running} AND state = 'active'"):
            pass
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        while await watcher.fetchval(f"{running} AND state = 'active'"):
            pass
    await watcher.close()
    assert await shop.query("SELECT 1") == [[1]]


async def test_a_user_that_may_too_much_is_refused(
    postgresql: str, tokens: TokenMaker, workspaces: Workspaces
) -> None:
    source = PostgresqlSource("shop", postgresql, LIMITS, connections=1, writable=False)
    with pytest.raises(SourceUnavailable, match="superuser"):
        await source.query(Statement("SELECT 1"), call_of(tokens, workspaces, "*"))
    await source.close()


async def test_a_server_that_is_not_there_is_unavailable_and_its_password_is_not_told(
    tokens: TokenMaker, workspaces: Workspaces
) -> None:
    source = PostgresqlSource(
        "shop", "postgresql://lamp:hunter2@127.0.0.1:1/shop", LIMITS, connections=1, writable=False
    )
    with pytest.raises(SourceUnavailable) as caught:
        await source.query(Statement("SELECT 1"), call_of(tokens, workspaces, "*"))
    assert "hunter2" not in str(caught.value)
    await source.close()


async def test_a_connection_that_broke_while_nobody_used_it_is_replaced(shop: Shop, postgresql: str) -> None:
    assert await shop.query("SELECT 1") == [[1]]
    other = await asyncpg.connect(postgresql)
    for _ in range(5):
        await other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'parley-tools'"
        )
        assert await shop.query("SELECT 2") == [[2]]
    await other.close()


async def test_a_connection_that_breaks_in_a_statement_is_told_and_replaced(shop: Shop) -> None:
    with pytest.raises(SourceUnavailable, match="broke"):
        await shop.query("SELECT pg_terminate_backend(pg_backend_pid(), 10000)")
    assert await shop.query("SELECT 2") == [[2]]


async def test_a_change_that_may_have_been_kept_is_told(shop: Shop, lamps_url: str) -> None:
    breaks = (
        "CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid(), 10000); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON numbers"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION leave()",
    )
    await run_all(lamps_url, breaks)
    with pytest.raises(SourceUnavailable, match="look whether it was"):
        await shop.execute("INSERT INTO numbers VALUES (1)")
    assert await shop.query("SELECT count(*) FROM numbers") == [[0]]


def test_sources_come_from_settings(tmp_path: Path, identity: object) -> None:
    files: TlsFiles = identity("tools")  # type: ignore[operator]
    settings = ToolsSettings(
        tls_certificate_path=files.certificate,
        tls_private_key_path=files.private_key,
        tls_authority_path=files.authority,
        auth_address="127.0.0.1:1",
        workspace_path=tmp_path,
        database_sources={
            "shop": DatabaseSource(url="postgresql://lamp:hunter2@db/shop", writable=True),
            "notes": DatabaseSource(url=f"sqlite:///{tmp_path}/notes.db", description="Notes."),
        },
    )
    assert "hunter2" not in repr(settings)
    sources = sources_from(settings)
    assert sources
    found = {name: sources.find(name, _Anyone()) for name in ("shop", "notes")}
    assert {name: (entry.source.kind, entry.writable) for name, entry in found.items()} == {
        "shop": ("postgresql", True),
        "notes": ("sqlite", False),
    }
    assert found["notes"].source.path == tmp_path / "notes.db"
    with pytest.raises(ValueError, match="begins neither"):
        DatabaseSource(url="mysql://x")


class _Anyone:
    """A principal who may do everything."""

    def may(self, _permission: str) -> bool:
        return True

    def require(self, _permission: str) -> None:
        return None
