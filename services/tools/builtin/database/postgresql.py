"""PostgreSQL databases as sources.

Reading is reading by construction: a query runs as a subquery of ours, where
the server's grammar lets nothing stand but a query without data-modifying
parts, in a read-only transaction that is always rolled back, sent by the
extended protocol, which carries one statement. What comes back is one bounded
JSON text per row, made by the server, however wide the query's rows are.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Sequence
from typing import Any

import asyncpg
from pydantic import JsonValue

from services.tools.builtin.database.postgresql_connections import PostgresqlConnections
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
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    TooManyRows,
)

MAX_DESCRIBED_COLUMNS = 2000
MAX_LEVELS = 100

_ROWS_AT_ONCE = 16
_MAX_DIGITS = 4000

_READS_ONLY = "db_query only reads: one SELECT, VALUES, TABLE or WITH query that changes nothing"
_CHANGES_ONLY = "db_execute takes one INSERT, UPDATE, DELETE or MERGE without RETURNING or WITH before it"
_CHANGES = re.compile(r"\s*(?:insert|update|delete|merge)\b", re.IGNORECASE)
_WRAPPED = """
SELECT CASE WHEN octet_length(parley.line) <= {bytes} THEN parley.line END AS line FROM (
SELECT row_to_json(parley_query)::text AS line FROM (
{sql}
) AS parley_query LIMIT {rows}) AS parley
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
        self._limits = limits
        self._connections = PostgresqlConnections(
            name, url, seconds=limits.seconds, most=connections, writable=writable
        )

    @property
    def kind(self) -> str:
        """See `Source`."""
        return "postgresql"

    async def query(self, statement: Statement, _call: LoopCall) -> Rows:
        """See `Source`."""
        wanted = min(statement.rows, self._limits.rows)
        async with self._connections.transaction("READ ONLY", commit=False) as connection:
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
        async with self._connections.transaction("READ WRITE", commit=True) as connection:
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
        async with self._connections.transaction("READ ONLY", commit=False) as connection:
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
        await self._connections.close()

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
