"""A table in memory that DuckDB answers queries on, with no way out.

The table is filled from a descriptor that is open already. After that the
database is locked: no files, no network, no extensions, no other settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from services.tools.errors import DataInvalid, DataTooLarge, QueryInvalid, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FileFormat = Literal["csv", "json", "parquet"]
MAX_MEMORY = "256MB"

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": MAX_MEMORY,
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "python_scan_all_frames": False,
}
_FILL = {
    "csv": "CREATE TABLE data AS SELECT * FROM read_csv(?)",
    "json": "CREATE TABLE data AS SELECT * FROM read_json(?, maximum_object_size = 8388608)",
    "parquet": "CREATE TABLE data AS SELECT * FROM read_parquet(?)",
}


@contextmanager
def table_of(descriptor: int, data_format: FileFormat, tool: str) -> Iterator[DuckDBPyConnection]:
    """A locked database with one table, `data`.

    Args:
        descriptor: Of the file, open for reading.
        data_format: How the file is written.
        tool: The tool, for errors.

    Raises:
        DataInvalid: The file is not so written.
        DataTooLarge: The table does not fit into memory.
    """
    import duckdb  # A quarter of a second and 70 MiB: only those who need it pay.

    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        try:
            connection.execute(_FILL[data_format], [f"/proc/self/fd/{descriptor}"])
        except duckdb.OutOfMemoryException:
            raise DataTooLarge(tool, f"at most {MAX_MEMORY} as a table") from None
        except duckdb.Error as error:
            raise DataInvalid(tool, data_format, first_line(error)) from None
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


def select(
    connection: DuckDBPyConnection, query: str, limit: int, tool: str
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns and the first rows of the answer to one SELECT.

    Raises:
        DataTooLarge: The answer needs too much memory.
        QueryInvalid: It is no single SELECT, or not a valid one.
    """
    import duckdb

    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise QueryInvalid(tool, "one single SELECT is taken, and nothing else.")
        answer = connection.execute(statements[0])
        return [name for name, *_ in answer.description or ()], answer.fetchmany(limit)
    except (duckdb.OutOfMemoryException, MemoryError):
        raise DataTooLarge(tool, f"at most {MAX_MEMORY} of memory for a query") from None
    except duckdb.Error as error:
        raise QueryInvalid(tool, quoted(first_line(error))) from None


def first_line(error: Exception) -> str:
    """What DuckDB complains about, without the excerpt of the query below."""
    return str(error).split("\n", 1)[0]
