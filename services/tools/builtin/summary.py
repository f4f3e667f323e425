"""What is in a table, in figures."""

from __future__ import annotations

import statistics
from typing import Any

from services.tools.builtin.expression import rounded
from services.tools.builtin.formats import columns, shown, table

MAX_SHOWN_CHARACTERS = 100


def summarize(data: Any) -> dict[str, Any]:
    """Rows and columns of the data, and of each column its type, gaps, values and figures."""
    rows = table(data)
    return {
        "type": "array" if isinstance(data, list) else "object" if isinstance(data, dict) else "value",
        "rows": len(rows),
        "columns": [_column(name, [row.get(name) for row in rows]) for name in columns(rows)],
    }


def _column(name: str, cells: list[Any]) -> dict[str, Any]:
    values = [cell for cell in cells if cell is not None]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    distinct = len({shown(value) for value in values})
    described = {
        "name": name,
        "type": _type(values),
        "missing": len(cells) - len(values),
        "distinct": distinct,
    }
    if numbers and len(numbers) == len(values):
        return described | _figures(numbers)
    return described | {
        "examples": list(dict.fromkeys(shown(value)[:MAX_SHOWN_CHARACTERS] for value in values))[:3]
    }


def _type(values: list[Any]) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    found = {names.get(type(value), "other") for value in values}
    return found.pop() if len(found) == 1 else "mixed" if found else "empty"


def _figures(numbers: list[float]) -> dict[str, Any]:
    figures: dict[str, Any] = {"min": min(numbers), "max": max(numbers)}
    try:
        middle = {"mean": rounded(statistics.mean(numbers)), "median": rounded(statistics.median(numbers))}
    except OverflowError:
        return figures
    return figures | middle
