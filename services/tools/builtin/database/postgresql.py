"""PostgreSQL databases as sources.

Reading is reading by construction: a query runs as a subquery of ours, where
the server's grammar lets nothing stand but a query without data-modifying
parts, in a read-only transaction that is always rolled back, sent by the
extended protocol, which carries one statement. What comes back is one bounded
JSON text per row, made by the server, however wide the query's rows are.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog
from pydantic import JsonValue

from services.tools.builtin.database.statements import (
    Column,
    Limits,
    Parameter,
    Rows,
    Schema,
    Statement,
    Table,
)
from services.tools.catalogue import LoopCall
from services.tools.database_errors import (
    SourceUnavailable,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    StatementTimeout,
    TooManyRows,
)

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
MAX_DESCRIBED_COLUMNS = 2000
MAX_LEVELS = 100

_ROWS_AT_ONCE = 16
_MAX_DIGITS = 4000

_READS_ONLY = "db_query only reads: one SELECT, VALUES, TABLE or WITH query that changes nothing"
_CHANGES_ONLY = "db_execute takes one INSERT, UPDATE, DELETE or MERGE without RETURNING or WITH before it"
_CHANGES = re.compile(r"\s*(?:insert|update|delete|merge)\b", re.IGNORECASE)
_SEVERAL = "multiple commands"
_WRAPPED = """
SELECT CASE WHEN octet_length(parley.line) <= {bytes} THEN parley.line END AS line FROM (
SELECT row_to_json(parley_query)::text AS line FROM (
{sql}
) AS parley_query LIMIT {rows}) AS parley
"""
# Such a user could read the server's files and run programs by mere queries.
_TOO_POWERFUL = """
SELECT rolsuper OR pg_has_role(rolname, 'pg_read_server_files', 'MEMBER')
    OR pg_has_role(rolname, 'pg_write_server_files', 'MEMBER')
    OR pg_has_role(rolname, 'pg_execute_server_program', 'MEMBER')
FROM pg_roles WHERE rolname = current_user
"""
_COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.data_type, c.is_nullable = 'YES' AS nullable,
    EXISTS (
        SELECT FROM information_schema.table_constraints AS t
        JOIN information_schema.key_column_usage AS k USING (constraint_schema, constraint_name)
        WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_schema = c.table_schema
            AND k.table_name = c.table_name AND k.column_name = c.column_name
    ) AS is_key
FROM information_schema.columns AS c
WHERE c.table_schema NOT IN ('pg_catalog', 'information_schema')
    AND ($1::text IS NULL OR $1 IN (c.table_name, c.table_schema || '.' || c.table_name))
ORDER BY c.table_schema, c.table_name, c.ordinal_position LIMIT $2
"""
_WHOLE = frozenset(("int2", "int4", "int8", "oid"))
_FLOATS = frozenset(("float4", "float8"))
# They travel as text, so that a caller writes them as in SQL.
_TEXTUAL = (
    *("date", "time", "timetz", "timestamp", "timestamptz", "interval", "numeric", "uuid", "json", "jsonb"),
    *("inet", "cidr", "bytea"),
)

_log = structlog.get_logger("parley.tools")


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """A connection that keeps nothing of a call for the next one."""

    def get_reset_query(self) -> str:
        """Run when it goes back to the pool: settings, locks, roles, temporary tables."""
        return "DISCARD ALL"


class PostgresqlSource:
    """A PostgreSQL database, reached over a few pooled connections."""

    def __init__(self, name: str, url: str, limits: Limits, *, connections: int, writable: bool) -> None:
        """Name a source; it is connected to when it is used first.

        Args:
            name: The source's name.
            url: Where it is, with user and password; never told.
            limits: How far a statement may go.
            connections: Most connections at once.
            writable: Whether statements may change it.
        """
        self._name = name
        self._url = url
        self._limits = limits
        self._connections = connections
        self._writable = writable
        self._pool: Any = None
        self._opening = asyncio.Lock()

    @property
    def kind(self) -> str:
        """See `Source`."""
        return "postgresql"

    async def query(self, statement: Statement, _call: LoopCall) -> Rows:
        """See `Source`."""
        wanted = min(statement.rows, self._limits.rows)
        async with self._transaction("READ ONLY", commit=False) as connection:
            inner = await connection.prepare(_one(statement.sql))
            try:
                wrapped = await connection.prepare(
                    _WRAPPED.format(sql=_one(statement.sql), bytes=self._limits.row_bytes, rows=wanted + 1)
                )
            except (asyncpg.PostgresSyntaxError, asyncpg.FeatureNotSupportedError):
                raise StatementNotAllowed(self._name, _READS_ONLY) from None
            columns = [attribute.name for attribute in inner.get_attributes()]
            found = wrapped.cursor(*self._bound(inner, statement.parameters), prefetch=_ROWS_AT_ONCE)
            return await self._rows(columns, found, wanted)

    async def execute(self, statement: Statement, _call: LoopCall) -> int:
        """See `Source`."""
        # The first word decides what a statement is; a comment before it is refused with the rest.
        if not _CHANGES.match(statement.sql):
            raise StatementNotAllowed(self._name, _CHANGES_ONLY)
        async with self._transaction("READ WRITE", commit=True) as connection:
            prepared = await connection.prepare(_one(statement.sql))
            if prepared.get_attributes():
                raise StatementNotAllowed(self._name, _CHANGES_ONLY)
            await prepared.fetch(*self._bound(prepared, statement.parameters))
            changed = int(prepared.get_statusmsg().rpartition(" ")[2])
            if changed > self._limits.changed_rows:
                raise TooManyRows(self._name, self._limits.changed_rows)
            return changed

    async def describe(self, table: str | None, _call: LoopCall) -> Schema:
        """See `Source`."""
        async with self._transaction("READ ONLY", commit=False) as connection:
            found = await connection.fetch(_COLUMNS, table, MAX_DESCRIBED_COLUMNS + 1)
        tables: dict[str, list[Column]] = {}
        for schema, name, column, kind, nullable, is_key in found[:MAX_DESCRIBED_COLUMNS]:
            shown = name if schema == "public" else f"{schema}.{name}"
            tables.setdefault(shown, []).append(
                Column(name=column, type=kind, nullable=nullable, primary_key=is_key)
            )
        return Schema(
            tables=[Table(name=name, columns=columns) for name, columns in tables.items()],
            truncated=len(found) > MAX_DESCRIBED_COLUMNS,
        )

    async def close(self) -> None:
        """See `Source`."""
        if self._pool is not None:
            self._pool.terminate()

    @asynccontextmanager
    async def _transaction(self, mode: str, *, commit: bool) -> AsyncIterator[Any]:
        """A connection in a transaction with a time limit, whose errors are told as ours."""
        async with self._connection() as connection:
            with_time = f"SET LOCAL statement_timeout = {max(1, int(self._limits.seconds * 1000))}"
            ends = "ROLLBACK"
            try:
                async with asyncio.timeout(self._limits.seconds + CONNECT_SECONDS):
                    await connection.execute(f"START TRANSACTION {mode}")
                    await connection.execute(with_time)
                    yield connection
                ends = "COMMIT" if commit else ends
            except (TimeoutError, asyncpg.QueryCanceledError):
                raise StatementTimeout(self._name, self._limits.seconds) from None
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                raise self._told(error) from None
            finally:
                await self._end(connection, ends)

    async def _end(self, connection: Any, how: str) -> None:
        """End the transaction, where the connection still lives."""
        if connection.is_closed():
            return
        try:
            await connection.execute(how, timeout=CONNECT_SECONDS)
        except asyncpg.PostgresError as error:  # a constraint that is checked at the end
            raise self._told(error) from None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        pool = await self._opened()
        try:
            connection = await pool.acquire(timeout=CONNECT_SECONDS + self._limits.seconds)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("a SQL source is unavailable", source=self._name, error=type(error).__name__)
            raise SourceUnavailable(self._name, "it cannot be reached") from None
        try:
            yield connection
        finally:
            await pool.release(connection, timeout=CONNECT_SECONDS)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=self._connections,
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

    def _bound(self, prepared: Any, parameters: Sequence[Parameter]) -> list[Any]:
        kinds = [parameter.name for parameter in prepared.get_parameters()]
        if len(kinds) != len(parameters):
            raise StatementInvalid(
                self._name, f"it has {len(kinds)} placeholders ($1, $2, …) and {len(parameters)} parameters"
            )
        for value, kind in zip(parameters, kinds, strict=True):
            if kind in _WHOLE and not (value is None or type(value) is int):
                raise StatementInvalid(self._name, f"a whole number is needed where {value!r:.40} was given")
        return [_fitting(value, kind) for value, kind in zip(parameters, kinds, strict=True)]

    async def _rows(self, columns: list[str], found: AsyncIterable[Any], wanted: int) -> Rows:
        """The rows as far as they are wanted; the server is asked for no more than a few at once."""
        rows: list[list[JsonValue]] = []
        left = self._limits.total_bytes
        truncated = False
        async for (line,) in found:
            if line is None:
                limit = self._limits.row_bytes
                raise StatementFailed(self._name, f"a row is larger than {limit} bytes; select less of it")
            left -= len(line.encode())
            truncated = left < 0 or len(rows) >= wanted
            if truncated:
                break
            rows.append(self._values(line))
        return Rows(columns=columns, rows=rows, truncated=truncated)

    def _values(self, line: str) -> list[JsonValue]:
        """The values of a row in the columns' order; two columns may have the same name."""
        try:
            pairs = json.loads(line, object_pairs_hook=_Pairs, parse_float=_exact, parse_int=_whole)
            return [_plain(value) for _, value in pairs]
        except RecursionError:
            raise StatementFailed(self._name, "a value is nested too deeply") from None

    def _told(self, error: Exception) -> Exception:
        """What a driver's error means."""
        text = str(error).partition("\n")[0].rstrip(".")
        if isinstance(error, asyncpg.PostgresSyntaxError) and _SEVERAL in text:
            return StatementNotAllowed(self._name, "it holds more than one statement")
        if isinstance(error, (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError)):
            return StatementNotAllowed(self._name, text)
        if isinstance(error, (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.InterfaceError)):
            return StatementInvalid(self._name, text)
        if isinstance(error, (asyncpg.PostgresConnectionError, OSError)):
            return SourceUnavailable(self._name, "the connection broke")
        return StatementFailed(self._name, text)


def _one(sql: str) -> str:
    """The statement without the semicolon that may end it."""
    return sql.rstrip().removesuffix(";").rstrip()


def _fitting(value: Parameter, kind: str) -> Any:
    """The value as the driver wants it for a type; what does not fit, the driver refuses."""
    if value is None or kind == "bool" or kind in _WHOLE:
        return value
    if kind in _FLOATS and isinstance(value, int):
        return float(value)
    return value if kind in _FLOATS else str(value)


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with its order, and keys that come twice."""


def _plain(value: Any, levels: int = MAX_LEVELS) -> JsonValue:
    """The value without our own types.

    Raises:
        RecursionError: It is nested too deeply.
    """
    if not levels:
        raise RecursionError
    if isinstance(value, _Pairs):
        return {key: _plain(inner, levels - 1) for key, inner in value}
    if isinstance(value, list):
        return [_plain(inner, levels - 1) for inner in value]
    return value  # type: ignore[no-any-return]


def _exact(text: str) -> float | str:
    """A fraction as a number where that loses nothing, else as text."""
    number = float(text)
    digits = text.lstrip("-0").replace(".", "").rstrip("0")
    return number if len(digits.partition("e")[0]) <= 15 else text


def _whole(text: str) -> int | str:
    """A whole number, or its text where it is longer than Python reads."""
    return int(text) if len(text) <= _MAX_DIGITS else text
