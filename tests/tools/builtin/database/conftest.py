"""SQL sources: a SQLite file, and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from services.tools.builtin.database.postgresql import PostgresqlSource
from services.tools.builtin.database.sources import NamedSource, Sources
from services.tools.builtin.database.sqlite import SqliteSource
from services.tools.builtin.database.statements import Limits, Source
from services.tools.builtin.database.toolset import database_tools
from services.tools.catalogue import Arguments, LoopCall, Tool, ToolResult, WorkerCall
from services.tools.workspace import Owner, Workspaces
from tests.conftest import TokenMaker

LIMITS = Limits(seconds=5, rows=50, row_bytes=2000, total_bytes=10_000, changed_rows=3)
LAMPS = (
    "CREATE TABLE lamps (name text PRIMARY KEY, price numeric(8, 2) NOT NULL, sold integer)",
    "INSERT INTO lamps VALUES ('gas', 30.5, 3), ('oil', 12, NULL), ('wire', 99.9, 70)",
    "CREATE TABLE numbers (n integer)",
)


@dataclass(frozen=True)
class Shop:
    """A source with lamps in it, and the tools on it."""

    source: Source
    tools: dict[str, Tool]
    call: LoopCall
    mark: str

    async def use(self, name: str, **arguments: Any) -> Any:
        """Call a tool."""
        tool = self.tools[name]
        return await tool.run(tool.arguments.model_validate(arguments), self.call)

    async def query(self, sql: str, *params: Any, **arguments: Any) -> list[list[Any]]:
        """The rows of a query; `?` stands for a placeholder."""
        return (await self.use("db_query", query=self.placed(sql), params=list(params), **arguments)).rows

    async def execute(self, sql: str, *params: Any) -> int:
        """How many rows a statement changed."""
        done = await self.use("db_execute", statement=self.placed(sql), params=list(params))
        return done.changed_rows

    def placed(self, sql: str) -> str:
        """The SQL with this source's placeholders."""
        number = 0
        while "?" in sql and self.mark == "$":
            number += 1
            sql = sql.replace("?", f"${number}", 1)
        return sql


def call_of(tokens: TokenMaker, workspaces: Workspaces, *permissions: str) -> LoopCall:
    """A call of somebody who may do this, computing its parts here, beside the event loop."""

    async def report(_what: object) -> None:
        pass

    async def compute(part: Tool, arguments: Arguments) -> ToolResult:
        context = WorkerCall(Owner("t", "u"), workspaces, lambda _what: None)
        done = await asyncio.to_thread(part.run, arguments, context)
        return part.result.model_validate(done)

    return LoopCall(tokens.principal(*permissions), report, compute)


@pytest.fixture
def lamps_file(tmp_path: Path) -> Path:
    path = tmp_path / "shop with spaces?.db"
    connection = sqlite3.connect(path)
    for statement in LAMPS:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


@pytest.fixture(scope="session")
def shop_url(postgresql: str) -> str:
    """The URL of a database and of the plain user who owns it."""
    name = f"shop_{uuid.uuid4().hex}"
    statements = (
        f"CREATE ROLE {name} LOGIN PASSWORD 'hunter2'",
        f"CREATE DATABASE {name} OWNER {name}",
    )
    asyncio.run(run_all(postgresql, statements))
    parts = urlsplit(postgresql)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{name}:hunter2@{host}", path=f"/{name}"))


@pytest.fixture
def lamps_url(shop_url: str) -> str:
    """The same with nothing but the lamps in it."""
    fresh = ("DROP SCHEMA IF EXISTS public CASCADE", "CREATE SCHEMA public")
    asyncio.run(run_all(shop_url, (*fresh, *LAMPS)))
    return shop_url


async def run_all(url: str, statements: Iterable[str]) -> None:
    """Run statements as this user."""
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def shop_of(source: Source, call: LoopCall, *, writable: bool = True) -> Shop:
    named = NamedSource("shop", source, writable, "Lamps.")
    tools = {tool.name: tool for tool in database_tools(Sources({"shop": named}))}
    return Shop(source, tools, call, "$" if source.kind == "postgresql" else "?")


@pytest.fixture(params=["sqlite", "postgresql"])
def source(request: pytest.FixtureRequest) -> Source:
    """The shop's source, once of each kind."""
    if request.param == "sqlite":
        return SqliteSource("shop", request.getfixturevalue("lamps_file"), LIMITS)
    url = request.getfixturevalue("lamps_url")
    return PostgresqlSource("shop", url, LIMITS, connections=2, writable=True)


@pytest.fixture
async def shop(source: Source, tokens: TokenMaker, workspaces: Workspaces) -> AsyncIterator[Shop]:
    yield shop_of(source, call_of(tokens, workspaces, "tools.database.*"))
    await source.close()
