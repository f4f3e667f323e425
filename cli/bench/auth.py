"""`parley bench auth`: what it costs to know who calls, and what they may use."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from cli.bench.identity import Row, front_door, identity_rows
from cli.console import errors, print_json, print_table
from cli.failures import CommandError, told


@dataclass(frozen=True)
class Workload:
    """How much is measured.

    Attributes:
        calls: Calls of each kind.
        users: Users to add before measuring again.
        keys: Keys to add before measuring again.
    """

    calls: int
    users: int
    keys: int


Section = Callable[[Workload], Awaitable[list[Row]]]


async def _identity(workload: Workload) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as scratch:
        async with front_door(Path(scratch)) as door:
            return await identity_rows(door, workload.calls, workload.users, workload.keys)


async def _quotas(workload: Workload) -> list[Row]:
    from cli.bench.ledger import ledger_rows  # every command imports this module, and none of them a store

    return await ledger_rows(workload.calls)


SECTIONS: Mapping[str, Section] = {"quotas": _quotas, "identity": _identity}
"""What can be measured, in the order in which it is."""


@told
def auth(
    only: Annotated[str, typer.Option(help=f"Measure only this: {' or '.join(SECTIONS)}.")] = "",
    calls: Annotated[int, typer.Option(help="Calls of each kind.", min=10)] = 1000,
    users: Annotated[int, typer.Option(help="Users to add before measuring again.", min=0)] = 10_000,
    keys: Annotated[int, typer.Option(help="Keys to add before measuring again.", min=0)] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for scripts.")] = False,
) -> None:
    """Measure what tokens, keys, logins and quotas cost, on processes of its own."""
    if only and only not in SECTIONS:
        raise CommandError(f"There is nothing called {only} to measure.", f"Choose {' or '.join(SECTIONS)}.")
    chosen = [section for name, section in SECTIONS.items() if only in ("", name)]
    rows = uvloop.run(_measure(chosen, Workload(calls, users, keys)))
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        cells = (
            [row.name, f"{row.milliseconds:.2f} ms", f"{row.target} ms" if row.target else ""] for row in rows
        )
        print_table(["figure", "measured", "target"], cells)


async def _measure(sections: Sequence[Section], workload: Workload) -> list[Row]:
    rows: list[Row] = []
    for section in sections:
        errors().print(f"measuring {section.__name__.removeprefix('_')}", style="dim")
        rows += await section(workload)
    return rows
