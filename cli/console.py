"""Where commands write: answers to stdout, everything about them to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPE_WIDTH = 10_000
"""A pipe has no edge to break a row at."""


def answers() -> Console:
    """The console of what was asked for. Made anew, so that a redirected stdout is respected."""
    return Console(highlight=False, soft_wrap=True)


def errors() -> Console:
    """The console of progress and failures."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Writes a value as indented JSON, for scripts."""
    answers().print(json.dumps(value, indent=2, ensure_ascii=False), markup=False)


def print_json_line(value: Any) -> None:
    """Writes a value as one line of JSON, for scripts that read a stream."""
    answers().print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), markup=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes rows under headings."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, no_wrap=place == 0)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)
