"""Where commands write: answers to stdout, everything about them to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


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
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    Console(highlight=False).print(table)
