"""SQL on a file of the workspace."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, JsonValue

from services.tools.builtin.duck import FileFormat, select, table_of
from services.tools.builtin.file import MAX_PATH_CHARACTERS
from services.tools.builtin.formats import plain
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import DataInvalid, DataTooLarge

MAX_TABLE_BYTES = 64 * 2**20
MAX_QUERY_CHARACTERS = 10_000
DEFAULT_ROWS = 100
MAX_ROWS = 1000
TOOL = "sql_on_data"

_BY_ENDING: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}


class SqlOnDataArguments(Arguments):
    """What `sql_on_data` takes."""

    file_path: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="A CSV, JSON or Parquet file of the workspace.",
        examples=["data/points.csv"],
    )
    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARACTERS,
        description="One SELECT in DuckDB's SQL; the file is the table data.",
        examples=["SELECT sum(x) FROM data"],
    )
    format: Literal["auto", "csv", "json", "parquet"] = Field(
        "auto", description="How the file is written; auto goes by its name."
    )
    limit: int = Field(DEFAULT_ROWS, ge=1, le=MAX_ROWS, description="Most rows to give.")


class SqlOnDataResult(ToolResult):
    """What `sql_on_data` gives."""

    columns: list[str] = Field(description="The names of the columns.")
    rows: list[list[JsonValue]] = Field(description="The rows; dates are ISO 8601 texts.")
    truncated: bool = Field(description="Whether there are more rows than are given.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=20,
    max_output_bytes=2**20,
    examples=(
        Example(
            "Sum up a CSV file by group",
            {
                "file_path": "data/sales.csv",
                "query": "SELECT city, sum(amount) AS total FROM data GROUP BY city ORDER BY total DESC",
            },
            {"columns": ["city", "total"], "rows": [["Lima", 12], ["Oslo", 5]], "truncated": False},
            files={"data/sales.csv": "city,amount\nLima,7\nOslo,5\nLima,5\n"},
        ),
    ),
)
def sql_on_data(arguments: SqlOnDataArguments, call: WorkerCall) -> SqlOnDataResult:
    """Answers one SQL SELECT on a CSV, JSON or Parquet file of the workspace."""
    with call.workspaces.open(call.owner) as workspace:
        descriptor = workspace.file(arguments.file_path)
    try:
        if os.fstat(descriptor).st_size > MAX_TABLE_BYTES:
            raise DataTooLarge(TOOL, f"at most {MAX_TABLE_BYTES} bytes in a file")
        return _answer(descriptor, arguments)
    finally:
        os.close(descriptor)


def _answer(descriptor: int, arguments: SqlOnDataArguments) -> SqlOnDataResult:
    with table_of(descriptor, file_format(arguments.file_path, arguments.format, TOOL), TOOL) as connection:
        columns, found = select(connection, arguments.query, arguments.limit + 1, TOOL)
    try:
        rows = [[plain(value) for value in row] for row in found[: arguments.limit]]
    except ValueError as error:
        raise DataInvalid(TOOL, "JSON", f"in the answer {error}") from None
    return SqlOnDataResult(columns=columns, rows=rows, truncated=len(found) > arguments.limit)


def file_format(path: str, said: str, tool: str) -> FileFormat:
    """How a file is written, as the caller says or by its name.

    Raises:
        DataInvalid: Its name does not say.
    """
    for known in ("csv", "json", "parquet"):
        if said == known:
            return known
    ending = PurePosixPath(path).suffix.lower()
    if ending not in _BY_ENDING:
        raise DataInvalid(tool, "table", f"the name {path} does not say its format; give format")
    return _BY_ENDING[ending]


TOOLS = (sql_on_data,)
