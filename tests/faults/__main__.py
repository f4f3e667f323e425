"""The long form, `make faults`: what may happen to a platform of two replicas, all of it under load.

Every process is killed, stands still, and is cut off; the disk is full, the network slow, the
clock wrong, certificates are replaced; then replicas join, leave and are replaced. Prints a
table for docs/guide/faults.md. A disk and a network of its own need root, and a clock of its own
a compiler; without them their faults are left out, and a line says so.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults import clock, database, disk, network
from tests.faults.faults import Fault, Report, change, hang, kill, kill_all, suffer
from tests.faults.load import Load
from tests.platform import Stack, running_stack
from tests.postgresql import new_database, running_postgresql

PROCESSES = ("edge", "store", "cache", "auth", "tools", "web", "inference-1", "inference-2")
# Last, as they end those that have the first names.
CHANGES = (
    change("a replica joins", "replicas", "add"),
    change("a replica leaves", "replicas", "remove", "inference-1"),
    change("the model is reloaded", "models", "reload", "parley-demo"),
)
FAULTS = (
    *map(kill, PROCESSES),
    kill_all(PROCESSES),
    *map(hang, PROCESSES),
    change("certificates are replaced", "certs", "rotate"),
)
# Of what lies around the processes: the run needs it for itself.
SURROUNDINGS = (disk.full(), network.slow(), *map(network.cut, PROCESSES))
INSIDE = "--inside"
MOST_HELD = 1.25
"""What all processes hold after all of it, of what they held before."""


async def strike_all(stack: Stack, faults: Sequence[Fault]) -> tuple[list[Report], list[str]]:
    """These faults under load, one after the other; what clients saw, and what was not as promised."""
    reports, broken = [], []
    async with await stack.admin() as admin:
        before, held, load = await Load(admin).recorded(), stack.held(), Load(admin)
        async with load.running():
            for fault in faults:
                reports.append(await suffer(stack, load, fault))
                print(reports[-1], file=sys.stderr, flush=True)
                await stack.until_ready()
        broken += [f"lost: {what}" for what in await load.lost()]
        await load.until_recorded(before + load.delivered)
    broken += [f"not told: {each}" for report in reports for each in (*report.untyped, *report.hung)]
    broken += [
        f"{what}: {held[what]:g} before, {now:g} after"
        for what, now in stack.held().items()
        if now > held[what] * MOST_HELD
    ]
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


def summary(reports: Sequence[Report]) -> str:
    """How much of it all went well, by calls and by time."""
    calls, failed = sum(each.calls for each in reports), sum(each.failed.total() for each in reports)
    away = sum(each.whole_seconds for each in reports)
    return f"{calls} calls, {failed} of which failed; each fault once: {away:.0f} s in which calls failed"


def _with_surroundings_of_its_own() -> None:
    """Run this program again where it has a network and mounts of its own; gives back where it may not."""
    if os.geteuid() == 0 and (unshare := shutil.which("unshare")) is not None:
        again = (sys.executable, "-m", "tests.faults", INSIDE, *sys.argv[1:])
        os.execv(unshare, (unshare, "--net", "--mount", *again))  # noqa: S606 - nothing of it is from outside


def main() -> None:
    """Exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="strike with faults that have one of these in their name"
    )
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--postgresql", action="store_true", help="keep users and conversations there")
    options = parser.parse_args()
    if not options.inside:
        _with_surroundings_of_its_own()
    console = Console(width=200)
    faults: list[Fault] = [*FAULTS]
    settings: dict[str, str] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.inside:
            network.begin()
            folder = stack.enter_context(disk.small_disk(folder / "disk"))
            faults += SURROUNDINGS
        else:
            console.print("without root: the disk and the network are left alone")
        if clock.COMPILER is not None:
            ticking = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            settings |= clock.settings(ticking)
            faults.append(clock.jump(ticking))
        else:
            console.print("without a compiler: the clock is left alone")
        if options.postgresql:
            server = stack.enter_context(running_postgresql(lasting=True))
            users, talks = (stack.enter_context(new_database(server)) for _ in range(2))
            settings |= {"PARLEY_AUTH_DATABASE_URL": users, "PARLEY_INFERENCE_DATABASE_URL": talks}
            faults += [database.crash(users), database.hang(users)]
        running = stack.enter_context(running_stack(folder, "--replicas", "2", **settings))
        chosen = [fault for fault in (*faults, *CHANGES) if any(part in fault.name for part in options.only)]
        reports, broken = asyncio.run(strike_all(running, chosen))
    console.print(table(reports))
    console.print(summary(reports))
    for each in broken:
        console.print(each)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
