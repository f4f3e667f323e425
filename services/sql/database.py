"""The connection to SQLite or PostgreSQL, the same for all that uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
from sqlalchemy import URL, Connection, event, exc, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from services.rpc.errors import DependencyUnavailable
from services.sql.spans import trace_statements

SQLITE = "sqlite+aiosqlite"
POSTGRESQL = "postgresql+asyncpg"
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10
POOL_SIZE = 10

UNREACHABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, OSError)
# Classes of SQLSTATE (PostgreSQL, appendix A): no connection, no resources, stopped by an operator.
UNREACHABLE_STATES = ("08", "53", "57")

log = structlog.get_logger()


def parse_url(text: str) -> URL:
    """Read a database URL.

    Raises:
        ValueError: It is none, or of a database that is not supported.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        # The library's own message repeats the text, which may hold a password.
        raise ValueError("not a database URL") from None
    if url.drivername not in (SQLITE, POSTGRESQL):
        raise ValueError(f"a database URL begins with {SQLITE}:/// or {POSTGRESQL}://")
    if not url.database:
        raise ValueError("the database URL names no database")
    return url


def open_engine(url: URL, *, foreign_keys: bool = True) -> AsyncEngine:
    """An engine with the pool, time limits and pragmas that the service relies on.

    Args:
        url: As `parse_url` gives it.
        foreign_keys: False lets a migration rebuild a SQLite table that others refer to.
    """
    if url.drivername == POSTGRESQL:
        limits = {"timeout": CONNECT_SECONDS, "command_timeout": STATEMENT_SECONDS}
        engine = create_async_engine(
            url,
            connect_args=limits,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        trace_statements(engine.sync_engine, "postgresql")
        return engine
    engine = create_async_engine(url, connect_args={"timeout": CONNECT_SECONDS}, hide_parameters=True)
    _prepare_sqlite(engine, foreign_keys)
    trace_statements(engine.sync_engine, "sqlite")
    return engine


def _prepare_sqlite(engine: AsyncEngine, foreign_keys: bool) -> None:
    """Set pragmas, and take the write lock at the start of a transaction that will write.

    A transaction that reads first and writes later fails at once when another
    wrote in between, whatever the busy timeout says.
    """

    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions by itself
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode = WAL")
            # A revocation that was answered must survive a power cut.
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
            cursor.close()
        except Exception:
            connection.close()  # the pool only drops it, and its thread would outlive the event loop
            raise

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine.sync_engine, "connect", connect)
    event.listen(engine.sync_engine, "begin", begin)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn an unreachable database into the error that callers may see."""
    try:
        yield
    except (*UNREACHABLE, exc.DBAPIError) as error:
        if not _unreachable(error):
            raise
        log.warning("database does not answer", error=type(error).__name__)
        raise DependencyUnavailable("database") from error


def _unreachable(error: Exception) -> bool:
    """Whether the error is the database's absence rather than a fault of ours."""
    cause = getattr(error, "orig", None)
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return False  # SQLite calls a mistake in a query operational too
    # asyncpg tells the absence by SQLSTATE alone.
    state = getattr(cause, "sqlstate", None) or ""
    lost = bool(getattr(error, "connection_invalidated", False))
    return isinstance(error, UNREACHABLE) or lost or state.startswith(UNREACHABLE_STATES)


class Database:
    """Gives out sessions, each one transaction.

    Attributes:
        engine: The pool behind them.
    """

    def __init__(self, url: URL) -> None:
        """Use the database at this URL; nothing is opened yet."""
        self.engine = open_engine(url)
        self._readers = async_sessionmaker(self.engine, expire_on_commit=False)
        self._writers = async_sessionmaker(self.engine.execution_options(writes=True), expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        with _translated():
            async with self._readers() as session:
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed at the end, or undone by an error.

        Raises:
            DependencyUnavailable: The database does not answer.
        """
        with _translated():
            async with self._writers.begin() as session:
                yield session

    async def close(self) -> None:
        """Close the pool."""
        await self.engine.dispose()
