"""Structured data as text: read safely, and written.

Nothing that is read runs code, names other data (YAML aliases, XML entities),
or nests deeper than 100 levels, so data never grows beyond its text.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import jiter

from services.tools.errors import DataInvalid, DataTooLarge

TextFormat = Literal["json", "csv", "yaml", "toml"]
MAX_DEPTH = 100
MAX_ROWS = 100_000
MAX_COLUMNS = 1000
MAX_CELLS = 1_000_000
MAX_CELL_CHARACTERS = 128 * 2**10

_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,30})?([eE][+-]?\d{1,3})?")


def read(data_format: TextFormat, text: str, tool: str, *, delimiter: str = ",") -> Any:
    """The data: dicts, lists, texts, numbers, booleans and None.

    Args:
        data_format: How it is written.
        text: The data.
        tool: The tool, for errors.
        delimiter: Between the cells of CSV.

    Raises:
        DataInvalid: It is not valid in its format, or too deep.
        DataTooLarge: It has too many rows.
    """
    try:
        if data_format == "csv":
            return _read_csv(text, delimiter, tool)
        return plain(_READERS[data_format](text))
    except (ValueError, OverflowError, RecursionError, MemoryError, csv.Error) as error:
        raise DataInvalid(tool, data_format, str(error) or "it is nested too deeply") from None


def write(data_format: TextFormat, data: Any, tool: str, *, delimiter: str = ",") -> str:
    """The data as text.

    Raises:
        DataInvalid: The format cannot hold it.
    """
    try:
        if data_format == "csv":
            return _write_csv(table(data), delimiter)
        return _WRITERS[data_format](data)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataInvalid(tool, data_format, str(error)) from None


def read_json(text: str) -> Any:
    """JSON (RFC 8259), stricter: no NaN, no key twice.

    Raises:
        ValueError: It is none.
    """
    return jiter.from_json(text.encode(), allow_inf_nan=False, catch_duplicate_keys=True)


def _read_yaml(text: str) -> Any:
    import yaml

    try:
        _check_yaml(yaml.parse(text, Loader=yaml.CSafeLoader))
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _check_yaml(events: Iterable[Any]) -> None:
    """Refuse aliases, with which a few lines become gigabytes, and depth.

    Raises:
        ValueError: There is either.
    """
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not taken")  # noqa: TRY004 - the text is at fault, no caller
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _read_csv(text: str, delimiter: str, tool: str) -> list[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = list(rows.fieldnames or ())
    if len(set(names)) < len(names) or len(names) > MAX_COLUMNS:
        raise ValueError(f"the first line must name up to {MAX_COLUMNS} different columns")
    made: list[dict[str, Any]] = []
    most = most_rows(len(names))
    for row in rows:
        if None in row:
            raise ValueError(f"line {rows.line_num} has more cells than the first")
        if len(made) >= most:
            raise DataTooLarge(tool, f"at most {most} rows of {len(names)} columns")
        made.append({name: _cell(value) for name, value in row.items()})
    return made


def most_rows(columns: int) -> int:
    """How many rows of so many columns are taken: a short line may stand for a row of many empty cells."""
    return min(MAX_ROWS, MAX_CELLS // max(1, columns))


def _cell(text: str | None) -> Any:
    """A cell's number where it is one in plain digits; nothing where it is empty."""
    if not text:
        return None
    return json.loads(text) if _NUMBER.fullmatch(text) else text


def _write_yaml(data: Any) -> str:
    import yaml

    text: str = yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    return text


def _write_toml(data: Any) -> str:
    import tomli_w

    if not isinstance(data, dict):
        raise TypeError("its outermost level must be an object")
    return tomli_w.dumps(data)


def _write_csv(rows: list[dict[str, Any]], delimiter: str) -> str:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, lineterminator="\n")
    names = columns(rows)
    writer.writerow(names)
    writer.writerows([shown(row.get(name)) for name in names] for row in rows)
    return sink.getvalue()


def write_json(data: Any) -> str:
    """The data as compact JSON.

    Raises:
        ValueError: A number in it is none.
    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def plain(value: Any, depth: int = 0) -> Any:
    """The value with nothing in it that JSON does not know; dates become ISO 8601 texts.

    Raises:
        ValueError: It nests too deeply, or holds something else.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError("it holds a number that is not finite")
            return value
        case Mapping():
            return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
        case list() | tuple() | set():
            return [plain(inner, depth + 1) for inner in value]
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return plain(int(value) if value == value.to_integral_value() else float(value))
        case bytes() | bytearray() | memoryview():
            return base64.b64encode(value).decode()
        case UUID() | timedelta():
            return str(value)
    raise ValueError(f"it holds a {type(value).__name__}")


def table(data: Any) -> list[dict[str, Any]]:
    """The data as rows: a list of objects as it is, anything else as near as it comes."""
    rows = data if isinstance(data, list) else [data]
    return [row if isinstance(row, dict) else _row(row) for row in rows]


def _row(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {f"column{number}": inner for number, inner in enumerate(value, 1)}
    return {"value": value}


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The names of all columns, in the order they appear.

    Raises:
        ValueError: There are too many, or too many cells.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) > MAX_COLUMNS:
        raise ValueError(f"there are more than {MAX_COLUMNS} columns")
    if len(names) * len(rows) > MAX_CELLS:
        raise ValueError(f"there are more than {MAX_CELLS} cells")
    return names


def shown(value: Any) -> str:
    """A cell's text; what is no single value as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else write_json(value)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "json": read_json,
    "yaml": _read_yaml,
    "toml": tomllib.loads,
}
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "json": write_json,
    "yaml": _write_yaml,
    "toml": _write_toml,
}
