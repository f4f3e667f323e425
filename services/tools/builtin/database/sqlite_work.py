"""Statements on SQLite files. This runs in a worker process, which can be killed.

Reading is reading by construction: the file is opened read-only, `query_only`
is set, and the authorizer lets nothing through but what SELECT needs.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, JsonValue

from services.tools.builtin.database.statements import Column, Parameter, Rows, Schema, Table
from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.database_errors import (
    SourceUnavailable,
    StatementFailed,
    StatementInvalid,
    StatementNotAllowed,
    StatementTimeout,
    TooManyRows,
)

MAX_VALUE_BYTES = 16 * 2**20
MAX_HEAP_BYTES = 256 * 2**20
MAX_TABLES = 200
MAX_COLUMNS = 2000

_STEPS_BETWEEN_LOOKS = 10_000
_LIMITS = (
    (sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 2**20),
    (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 500),
    (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50),
    (sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 20),
)
_PREPARATION = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    f"PRAGMA hard_heap_limit = {MAX_HEAP_BYTES}",
    "PRAGMA temp_store = MEMORY",  # what does not fit fails, instead of filling a disk
)
_READING = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
)
_WRITING = frozenset((sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE))
_CHANGING = _READING | _WRITING
# What full-text search asks in between; it tells a number.
_LOOK_FOR_CHANGES = (sqlite3.SQLITE_PRAGMA, "data_version", None)
_TABLE_FUNCTIONS = ("json_each", "json_tree")
_FORBIDDEN_FUNCTIONS = frozenset(("load_extension", "fts3_tokenizer"))
_REFUSED_CODES = frozenset((sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM))
_BROKEN_CODES = frozenset(
    (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_IOERR)
)
_FAILED_CODES = frozenset(
    (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_TOOBIG)
)
_READS_ONLY = "db_query only reads: one SELECT, VALUES or WITH query"
_CHANGES_ONLY = "db_execute takes one INSERT, REPLACE, UPDATE or DELETE without RETURNING"


class FileArguments(Arguments):
    """A SQLite file that the operator named."""

    source: str
    path: str
    seconds: float


class StatementArguments(FileArguments):
    """A statement on it."""

    sql: str
    parameters: list[Parameter]
    rows: int = Field(0, description="Rows to give.")
    row_bytes: int = 0
    total_bytes: int = 0
    changed_rows: int = Field(0, description="Rows to change at most.")


class DescribeArguments(FileArguments):
    """Which tables."""

    table: str | None


class Changed(ToolResult):
    """How many rows were changed."""

    rows: int


part = tool(category=Category.DATABASE, safety=SafetyLevel.SAFE, timeout_seconds=330, max_output_bytes=2**20)


@part
def query_sqlite(arguments: StatementArguments, _call: WorkerCall) -> Rows:
    """Reads rows."""
    with _opened(arguments, "ro") as connection:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")
        _meet_virtual_tables(connection)
        connection.set_authorizer(_authorizer(_READING))
        cursor = _executed(connection, arguments, _READS_ONLY)
        if cursor.description is None:
            raise StatementNotAllowed(arguments.source, _READS_ONLY)
        return _rows(cursor, arguments)


@part
def execute_sqlite(arguments: StatementArguments, _call: WorkerCall) -> Changed:
    """Changes rows, all or none."""
    with _opened(arguments, "rw") as connection:
        connection.execute("BEGIN IMMEDIATE")
        _meet_virtual_tables(connection)
        before = connection.total_changes
        connection.set_authorizer(_authorizer(_CHANGING))
        cursor = _executed(connection, arguments, _CHANGES_ONLY)
        if cursor.description is not None:
            raise StatementNotAllowed(arguments.source, _CHANGES_ONLY)
        # The statement's own rows; Python does not tell them for WITH, and there all count that were touched.
        changed = cursor.rowcount if cursor.rowcount >= 0 else connection.total_changes - before
        if changed > arguments.changed_rows:
            raise TooManyRows(arguments.source, arguments.changed_rows)
        connection.set_authorizer(None)
        connection.execute("COMMIT")
    return Changed(rows=changed)


@part
def describe_sqlite(arguments: DescribeArguments, _call: WorkerCall) -> Schema:
    """Lists tables and their columns."""
    with _opened(arguments, "ro") as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' AND coalesce(name = ?, TRUE) ORDER BY name LIMIT ?",
            (arguments.table, MAX_TABLES + 1),
        ).fetchall()
        tables = [Table(name=name, columns=_columns(connection, name)) for (name,) in names[:MAX_TABLES]]
    return Schema(tables=tables, truncated=len(names) > MAX_TABLES)


def _columns(connection: sqlite3.Connection, table: str) -> list[Column]:
    found = connection.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_info(?) LIMIT ?', (table, MAX_COLUMNS)
    )
    return [
        Column(name=name, type=kind or "any", nullable=not (required or key), primary_key=bool(key))
        for name, kind, required, key in found
    ]


@contextmanager
def _opened(arguments: FileArguments, mode: str) -> Iterator[sqlite3.Connection]:
    """The file; what happened within is undone unless it was committed."""
    with _told(arguments), closing(_connect(arguments, mode)) as connection:
        for limit, value in _LIMITS:
            connection.setlimit(limit, value)
        for statement in _PREPARATION:
            connection.execute(statement)
        ends = time.monotonic() + arguments.seconds
        connection.set_progress_handler(lambda: time.monotonic() > ends, _STEPS_BETWEEN_LOOKS)
        try:
            yield connection
        finally:
            _undo(connection)


def _undo(connection: sqlite3.Connection) -> None:
    """End what was not committed now.

    A connection that is closed while an error still holds one of its cursors lives on until that is gone,
    with its transaction, its locks and its journal, which who only reads could take for that of a crash.
    """
    connection.set_authorizer(None)
    connection.set_progress_handler(None, 0)
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # the file broke, which is told already
            connection.rollback()


def _meet_virtual_tables(connection: sqlite3.Connection) -> None:
    """Let virtual tables declare themselves, which the authorizer would take for CREATE TABLE."""
    found = connection.execute(
        "SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL TABLE%' LIMIT ?", (MAX_TABLES,)
    )
    for name in (*_TABLE_FUNCTIONS, *(name for (name,) in found.fetchall())):
        quoted = name.replace('"', '""')
        with suppress(sqlite3.Error):  # of a module that is not there; a statement that needs it is told
            connection.execute(f'SELECT 1 FROM "{quoted}" LIMIT 0')  # noqa: S608 # nosec B608 - a quoted name


def _connect(arguments: FileArguments, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(Path(arguments.path).absolute()))}?mode={mode}"
    # No isolation level: transactions begin and end where it says so here, and nowhere else.
    return sqlite3.connect(uri, uri=True, timeout=arguments.seconds, isolation_level=None)


@contextmanager
def _told(arguments: FileArguments) -> Iterator[None]:
    """Say what SQLite's errors mean."""
    try:
        yield
    except MemoryError:
        raise StatementFailed(arguments.source, "it needs more memory than it may have") from None
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError, OverflowError) as error:
        raise StatementInvalid(arguments.source, str(error).rstrip(".")) from None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            raise StatementTimeout(arguments.source, arguments.seconds) from None
        if code in _BROKEN_CODES:
            raise SourceUnavailable(arguments.source, "its file cannot be read") from None
        if code in _FAILED_CODES:
            raise StatementFailed(arguments.source, str(error)) from None
        raise StatementInvalid(arguments.source, str(error)) from None


def _executed(connection: sqlite3.Connection, arguments: StatementArguments, allowed: str) -> sqlite3.Cursor:
    """Run the statement; what the authorizer refused is told as what is allowed."""
    try:
        return connection.execute(arguments.sql, arguments.parameters)
    except sqlite3.Warning:  # Python 3.11 warns of a second statement
        raise StatementNotAllowed(arguments.source, "it holds more than one statement") from None
    except sqlite3.ProgrammingError as error:
        if "one statement" in str(error):
            raise StatementNotAllowed(arguments.source, "it holds more than one statement") from None
        raise
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _REFUSED_CODES or _is_about_transactions(error):
            raise StatementNotAllowed(arguments.source, allowed) from None
        raise


def _is_about_transactions(error: sqlite3.DatabaseError) -> bool:
    """VACUUM and the like, which no authorizer sees."""
    return re.search(r"within a transaction|not authorized|prohibited", str(error)) is not None


def _authorizer(allowed: frozenset[int]) -> Callable[..., int]:
    def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if (action, first, second) == _LOOK_FOR_CHANGES:
            return sqlite3.SQLITE_OK
        of_the_system = action in _WRITING and (first or "").lower().startswith("sqlite_")
        forbidden = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN_FUNCTIONS
        refused = action not in allowed or of_the_system or forbidden
        return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK

    return authorize


def _rows(cursor: sqlite3.Cursor, arguments: StatementArguments) -> Rows:
    rows: list[list[JsonValue]] = []
    left = arguments.total_bytes
    truncated = False
    for found in cursor:
        row = [_value(value) for value in found]
        size = len(json.dumps(row).encode())
        if size > arguments.row_bytes:
            raise StatementFailed(
                arguments.source, f"a row is larger than {arguments.row_bytes} bytes; select less of it"
            )
        left -= size
        truncated = left < 0 or len(rows) >= arguments.rows
        if truncated:
            break
        rows.append(row)
    return Rows(columns=[entry[0] for entry in cursor.description], rows=rows, truncated=truncated)


def _value(value: object) -> JsonValue:
    """A value as JSON has it, written as PostgreSQL writes what JSON has not."""
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value  # type: ignore[return-value]
