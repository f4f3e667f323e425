"""Pooled connections to a PostgreSQL database, each lent for one transaction with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from services.tools.database_errors import (
    SourceUnavailable,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    StatementTimeout,
)

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0

_SEVERAL = "multiple commands"
# Such a user could read the server's files and run programs by mere queries.
_TOO_POWERFUL = """
SELECT rolsuper OR pg_has_role(rolname, 'pg_read_server_files', 'MEMBER')
    OR pg_has_role(rolname, 'pg_write_server_files', 'MEMBER')
    OR pg_has_role(rolname, 'pg_execute_server_program', 'MEMBER')
FROM pg_roles WHERE rolname = current_user
"""
# They travel as text, so that a caller writes them as in SQL.
_TEXTUAL = (
    *("date", "time", "timetz", "timestamp", "timestamptz", "interval", "numeric", "uuid", "json", "jsonb"),
    *("inet", "cidr", "bytea"),
)
# How the driver tells that the server is there no longer; it takes the server's farewell, where it is
# read in the middle of the next statement, for a mistake of its own (`InternalClientError`).
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InternalClientError,
    OSError,
)
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_log = structlog.get_logger("parley.tools")


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that keeps nothing of a call for the next one."""

    def get_reset_query(self) -> str:
        """Run when it goes back to the pool: settings, locks, roles, temporary tables."""
        return "DISCARD ALL"


class PostgresqlConnections:
    """Connections to one database, opened when they are needed first and replaced when they break."""

    def __init__(self, name: str, url: str, *, seconds: float, most: int, writable: bool) -> None:
        """Connect to nothing yet.

        Args:
            name: The source's name.
            url: Where the database is, with user and password; never told.
            seconds: How long a statement may take.
            most: Most connections at once.
            writable: Whether statements may change the database.
        """
        self._name = name
        self._url = url
        self._seconds = seconds
        self._most = most
        self._writable = writable
        self._pool: Any = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Break all connections off."""
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self, mode: str, *, commit: bool) -> AsyncIterator[Any]:
        """A connection in a transaction with a time limit.

        Args:
            mode: `READ ONLY` or `READ WRITE`.
            commit: Whether what was changed stays, where the block ends well.

        Raises:
            SourceUnavailable: The database is not there, or went away.
            StatementFailed, StatementInvalid, StatementNotAllowed, StatementTimeout: What the block's
                statements met.
        """
        pool = await self._opened()
        connection = await self._begun(pool, mode)
        ends = "ROLLBACK"
        try:
            async with asyncio.timeout(self._seconds + CONNECT_SECONDS):
                yield connection
            ends = "COMMIT" if commit else ends
        except (TimeoutError, asyncpg.QueryCanceledError):
            raise StatementTimeout(self._name, self._seconds) from None
        except _ERRORS as error:
            raise self._told(error, connection) from None
        finally:
            try:
                await self._end(connection, ends)
            finally:
                await self._give_back(pool, connection)

    async def _begun(self, pool: Any, mode: str) -> Any:
        """A connection on which a transaction began.

        The server may have ended one while nobody used it. Nothing was asked on it yet, so another
        takes its place, and those that were idle beside it are not trusted either.
        """
        begin = f"START TRANSACTION {mode}; SET LOCAL statement_timeout = {max(1, int(self._seconds * 1000))}"
        connection = await self._acquired(pool)
        try:
            await self._ask(pool, connection, begin)
        except SourceUnavailable:
            await pool.expire_connections()
            connection = await self._acquired(pool)
            await self._ask(pool, connection, begin)
        return connection

    async def _ask(self, pool: Any, connection: Any, statement: str) -> None:
        """Run a statement of ours on a connection; where that fails, the connection is given up."""
        try:
            await connection.execute(statement, timeout=CONNECT_SECONDS)
        except BaseException as error:
            _abandon(connection)
            await self._give_back(pool, connection)
            if not isinstance(error, _ERRORS):
                raise
            raise SourceUnavailable(self._name, "the connection broke") from None

    async def _acquired(self, pool: Any) -> Any:
        try:
            return await pool.acquire(timeout=CONNECT_SECONDS + self._seconds)
        except _ERRORS as error:
            _log.warning("a SQL source is unavailable", source=self._name, error=type(error).__name__)
            raise SourceUnavailable(self._name, "it cannot be reached") from None

    async def _give_back(self, pool: Any, connection: Any) -> None:
        """Return a connection to the pool, which closes one that it cannot reset."""
        try:
            await pool.release(connection, timeout=CONNECT_SECONDS)
        except _ERRORS as error:
            _log.warning("a SQL connection was given up", source=self._name, error=type(error).__name__)

    async def _end(self, connection: Any, how: str) -> None:
        """End the transaction.

        Raises:
            SourceUnavailable: It was to be committed, and whether it was is unknown.
            StatementFailed: It was not, for a constraint that is checked at the end.
        """
        if how == "ROLLBACK" and _is_gone(connection):
            return
        try:
            await connection.execute(how, timeout=CONNECT_SECONDS)
        except (*_BROKEN, asyncpg.InterfaceError):
            _abandon(connection)
            if how == "COMMIT":
                why = "the connection broke as the change was kept; look whether it was"
                raise SourceUnavailable(self._name, why) from None
        except asyncpg.PostgresError as error:
            raise self._told(error, connection) from None

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._most,
                    max_inactive_connection_lifetime=IDLE_SECONDS,
                    connection_class=_Connection,
                    init=self._prepare,
                    timeout=CONNECT_SECONDS,
                    statement_cache_size=0,
                    server_settings={
                        "application_name": "parley-tools",
                        "default_transaction_read_only": "off" if self._writable else "on",
                    },
                )
            return self._pool

    async def _prepare(self, connection: Any) -> None:
        """Refuse a user that may too much; take and give values as text."""
        if await connection.fetchval(_TOO_POWERFUL):
            _log.error("the user of a SQL source may too much", source=self._name)
            raise SourceUnavailable(
                self._name, "its user is a superuser or may reach the server's files; give it a plain one"
            )
        for kind in _TEXTUAL:
            await connection.set_type_codec(
                kind, schema="pg_catalog", encoder=str, decoder=str, format="text"
            )

    def _told(self, error: Exception, connection: Any) -> Exception:
        """What a driver's error means."""
        text = str(error).partition("\n")[0].rstrip(".")
        if isinstance(error, _BROKEN) or _is_gone(connection):
            return SourceUnavailable(self._name, "the connection broke")
        if isinstance(error, asyncpg.PostgresSyntaxError) and _SEVERAL in text:
            return StatementNotAllowed(self._name, "it holds more than one statement")
        if isinstance(error, (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)):
            return StatementNotAllowed(self._name, text)
        if isinstance(error, (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.InterfaceError)):
            return StatementInvalid(self._name, text)
        return StatementFailed(self._name, text)


def _is_gone(connection: Any) -> bool:
    """Whether a connection broke; the pool takes one back that does so while it is lent."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def _abandon(connection: Any) -> None:
    """Break a connection off, if it is not gone."""
    if not _is_gone(connection):
        connection.terminate()
