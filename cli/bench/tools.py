"""`parley bench tools`: what it costs to run tools."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cli.bench.calls import call_rows
from cli.bench.figures import Figure
from cli.bench.sandbox import sandbox_rows
from cli.console import errors, print_json, print_table
from cli.failures import CommandError, told


@dataclass(frozen=True)
class Workload:
    """How much is measured.

    Attributes:
        starts: Starts, and single calls, of each kind.
        calls: Calls at once.
    """

    starts: int
    calls: int


Section = Callable[[Workload], Awaitable[list[Figure]]]


async def _sandbox(workload: Workload) -> list[Figure]:
    return await sandbox_rows(workload.starts, workload.calls)


async def _calls(workload: Workload) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        return await call_rows(Path(scratch), workload.starts, workload.calls)


SECTIONS: Mapping[str, Section] = {"calls": _calls, "sandbox": _sandbox}
"""What can be measured, in the order in which it is."""


@told
def tools(
    only: Annotated[str, typer.Option(help=f"Measure only this: {' or '.join(SECTIONS)}.")] = "",
    starts: Annotated[int, typer.Option(help="Starts, and single calls, of each kind.", min=3)] = 30,
    calls: Annotated[int, typer.Option(help="Calls at once.", min=1)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Measure what running tools costs, on processes of its own."""
    if only and only not in SECTIONS:
        raise CommandError(f"There is nothing called {only} to measure.", f"Choose {' or '.join(SECTIONS)}.")
    chosen = [section for name, section in SECTIONS.items() if only in ("", name)]
    load = Figure("load of the machine at the start, over 1 minute", os.getloadavg()[0], "")
    rows = [load, *uvloop.run(_measure(chosen, Workload(starts, calls)))]
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_table(["figure", "measured", "target"], (row.cells() for row in rows))


async def _measure(sections: Sequence[Section], workload: Workload) -> list[Figure]:
    rows: list[Figure] = []
    for section in sections:
        errors().print(f"measuring {section.__name__.removeprefix('_')}", style="dim")
        rows += await section(workload)
    return rows
