"""From one format of data to another."""

from __future__ import annotations

import html
import os
from typing import Any, Literal

from pydantic import Field, model_validator

from services.tools.builtin.duck import MAX_MEMORY, first_line, select, table_of
from services.tools.builtin.file import MAX_PATH_CHARACTERS
from services.tools.builtin.formats import columns, most_rows, plain, read, shown, table, write, write_json
from services.tools.builtin.sources import (
    MAX_DATA_CHARACTERS,
    one_source,
    read_source,
    read_whole,
)
from services.tools.builtin.summary import summarize
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.changing import put, write_all
from services.tools.errors import DataInvalid, DataTooLarge

TOOL = "data_transform"
MAX_OUTPUT_BYTES = 2**20
InFormat = Literal["json", "csv", "yaml", "toml", "parquet"]
OutFormat = Literal["json", "csv", "yaml", "toml", "parquet", "html", "markdown", "summary"]


class DataTransformArguments(Arguments):
    """What `data_transform` takes."""

    data: str | None = Field(
        None,
        max_length=MAX_DATA_CHARACTERS,
        description="The data as text.",
        examples=["city,amount\nLima,7\n"],
    )
    file_path: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Instead of data: a file of the workspace; needed for parquet.",
    )
    from_format: InFormat = Field(description="How the data is written.", examples=["csv"])
    to_format: OutFormat = Field(
        description="What to make of it; summary describes its columns.", examples=["markdown"]
    )
    delimiter: str = Field(
        ",", min_length=1, max_length=1, pattern=r"^[,;|\t ]$", description="Between the cells of CSV."
    )
    output_path: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="Write the output to this workspace file instead of giving it; needed for parquet.",
    )

    @model_validator(mode="after")
    def _sources(self) -> DataTransformArguments:
        one_source(self.data, self.file_path)
        if self.from_format == "parquet" and self.file_path is None:
            raise ValueError("parquet is read from a file_path")
        if self.to_format == "parquet" and self.output_path is None:
            raise ValueError("parquet is written to an output_path")
        return self


class DataTransformResult(ToolResult):
    """What `data_transform` gives."""

    to_format: OutFormat
    output: str | None = Field(None, description="The data in its new format.")
    output_path: str | None = Field(None, description="The file that it was written to.")
    output_bytes: int = Field(description="Size of the output, in bytes.")


@tool(
    category=Category.DATA,
    safety=SafetyLevel.RESTRICTED,
    timeout_seconds=20,
    max_output_bytes=2 * MAX_OUTPUT_BYTES,
    examples=(
        Example(
            "A table for people",
            {"data": "city,amount\nLima,7\nOslo,5\n", "from_format": "csv", "to_format": "markdown"},
            {
                "to_format": "markdown",
                "output": "| city | amount |\n| --- | --- |\n| Lima | 7 |\n| Oslo | 5 |\n",
                "output_bytes": 58,
            },
        ),
        Example(
            "YAML as JSON",
            {"data": "name: Ada\ntags: [math, code]\n", "from_format": "yaml", "to_format": "json"},
            {"to_format": "json", "output": '{"name":"Ada","tags":["math","code"]}', "output_bytes": 37},
        ),
    ),
)
def data_transform(arguments: DataTransformArguments, call: WorkerCall) -> DataTransformResult:
    """Turns JSON, CSV, YAML, TOML or Parquet into another format, a table for people, or a summary."""
    data = _read(arguments, call)
    output = _render(data, arguments)
    if arguments.output_path is not None:
        with call.workspaces.writing(call.owner) as workspace:
            put(workspace, arguments.output_path, lambda made: write_all(made, output), replace=True)
    elif len(output) > MAX_OUTPUT_BYTES:
        raise DataTooLarge(TOOL, f"at most {MAX_OUTPUT_BYTES} bytes of output; give an output_path")
    return DataTransformResult(
        to_format=arguments.to_format,
        output=output.decode() if arguments.output_path is None else None,
        output_path=arguments.output_path,
        output_bytes=len(output),
    )


def _read(arguments: DataTransformArguments, call: WorkerCall) -> Any:
    if arguments.from_format == "parquet":
        return _read_parquet(read_whole(call, TOOL, arguments.file_path or ""))
    text = read_source(call, TOOL, arguments.data, arguments.file_path)
    return read(arguments.from_format, text, TOOL, delimiter=arguments.delimiter)


def _read_parquet(data: bytes) -> list[dict[str, Any]]:
    descriptor = os.memfd_create("parquet")
    try:
        write_all(descriptor, data)
        with table_of(descriptor, "parquet", TOOL) as connection:
            names, _ = select(connection, "FROM data", 0, TOOL)
            most = most_rows(len(names))
            _, rows = select(connection, "FROM data", most + 1, TOOL)
    finally:
        os.close(descriptor)
    if len(rows) > most:
        raise DataTooLarge(TOOL, f"at most {most} rows of {len(names)} columns")
    try:
        return [dict(zip(names, map(plain, row), strict=True)) for row in rows]
    except ValueError as error:
        raise DataInvalid(TOOL, "parquet", str(error)) from None


def _render(data: Any, arguments: DataTransformArguments) -> bytes:
    """The output's bytes."""
    try:
        match arguments.to_format:
            case "html":
                return _html(table(data)).encode()
            case "markdown":
                return _markdown(table(data)).encode()
            case "summary":
                return write_json(summarize(data)).encode()
            case "parquet":
                return _parquet(table(data))
            case "json" | "csv" | "yaml" | "toml" as known:
                return write(known, data, TOOL, delimiter=arguments.delimiter).encode()
    except ValueError as error:
        raise DataInvalid(TOOL, arguments.to_format, str(error)) from None


def _html(rows: list[dict[str, Any]]) -> str:
    names = columns(rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(shown(row.get(name)))}</td>" for name in names) + "</tr>\n"
        for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def _markdown(rows: list[dict[str, Any]]) -> str:
    names = columns(rows)
    lines = [names, ["---"] * len(names), *([shown(row.get(name)) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    """A text that cannot end its cell or its row."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as DuckDB writes them, in memory.

    Raises:
        ValueError: Parquet cannot hold them.
    """
    if not columns(rows):
        raise ValueError("there are no columns")
    lines = "\n".join(map(write_json, rows)).encode()
    source, sink = os.memfd_create("rows"), os.memfd_create("parquet")
    try:
        write_all(source, lines)
        _copy_to_parquet(source, sink)
        return os.pread(sink, os.fstat(sink).st_size, 0)
    finally:
        os.close(source)
        os.close(sink)


def _copy_to_parquet(source: int, sink: int) -> None:
    import duckdb

    copy = (
        "COPY (FROM read_json(?, format = 'newline_delimited')) "
        f"TO '/proc/self/fd/{sink:d}' (FORMAT parquet, USE_TMP_FILE false)"
    )
    try:
        with duckdb.connect(":memory:", config={"threads": 1, "memory_limit": MAX_MEMORY}) as connection:
            connection.execute(copy, [f"/proc/self/fd/{source}"])
    except duckdb.Error as error:
        raise ValueError(first_line(error)) from None


TOOLS = (data_transform,)
