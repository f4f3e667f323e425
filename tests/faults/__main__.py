"""The long form, `make faults`: every process of a platform of two replicas is killed, and stands still.

Then replicas join, leave and are replaced. Prints a table for docs/guide/faults.md.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.faults import Report, change, hang, kill, suffer
from tests.faults.load import Load
from tests.platform import Stack, running_stack

PROCESSES = ("edge", "store", "cache", "auth", "tools", "web", "inference-1", "inference-2")
# Last, as they end those that have the first names.
CHANGES = (
    change("a replica joins", "replicas", "add"),
    change("a replica leaves", "replicas", "remove", "inference-1"),
    change("the model is reloaded", "models", "reload", "parley-demo"),
)
FAULTS = (*map(kill, PROCESSES), *map(hang, PROCESSES), *CHANGES)


async def strike_all(stack: Stack) -> tuple[list[Report], list[str]]:
    """Every fault under load, one after the other; what clients saw, and what was not as promised."""
    reports, broken = [], []
    async with await stack.admin() as admin:
        before, load = await Load(admin).recorded(), Load(admin)
        async with load.running():
            for fault in FAULTS:
                reports.append(await suffer(stack, load, fault))
                print(reports[-1], file=sys.stderr, flush=True)
                await stack.until_ready()
        broken += [f"lost: {what}" for what in await load.lost()]
        await load.until_recorded(before + load.delivered)
    broken += [f"not told: {each}" for report in reports for each in (*report.untyped, *report.hung)]
    verified = stack.parley("audit", "verify")
    return reports, broken + ([verified.stdout] if verified.returncode else [])


def table(reports: list[Report]) -> Table:
    """A row a fault."""
    shown = Table("fault", "calls", "failed, and how", "not told", "whole after")
    for each in reports:
        failed = ", ".join(f"{count} {end}" for end, count in sorted(each.failed.items()))
        untold = str(len(each.untyped) + len(each.hung))
        shown.add_row(each.fault, str(each.calls), failed or "none", untold, f"{each.whole_seconds:.1f} s")
    return shown


def main() -> None:
    """Exit with 1 where a promise was broken."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder), "--replicas", "2") as stack,
    ):
        reports, broken = asyncio.run(strike_all(stack))
    console = Console(width=200)
    console.print(table(reports))
    console.print(f"{sum(report.calls for report in reports)} calls")
    for each in broken:
        console.print(each)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
