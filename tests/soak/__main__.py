"""`make soak MINUTES=60`: a platform of two replicas under a mixed load for so long.

Memory, open files, threads, processes and keys of the stores must stay as they are once all is
warm. Prints a table, and draws docs/guide/soak.png.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.load import OK, Load
from tests.platform import Stack, running_stack
from tests.soak.growth import Growth, growths, plot
from tests.soak.samples import Sample, Sampler

TIDY_SECONDS = 20.0
"""What the load makes is taken back, or it would grow itself."""
SETTINGS = {"PARLEY_AUTH_ACCESS_TOKEN_SECONDS": "120"}
"""Which tokens were ended is remembered for as long as one lives: that is to be over early."""
PLOT = Path("docs/guide/soak.png")


async def soak(stack: Stack, minutes: float) -> tuple[list[Sample], Counter[str]]:
    """Use a platform for so long; what it held, and how calls ended."""
    async with await stack.admin() as admin, Sampler.looking(stack) as sampler:
        load, end = Load(admin), time.monotonic() + minutes * 60
        async with load.running():
            while time.monotonic() < end:
                await asyncio.sleep(min(TIDY_SECONDS, max(0.0, end - time.monotonic())))
                await load.tidy()
        return sampler.samples, Counter(f"{each.kind}: {each.end}" for each in load.outcomes)


def table(found: list[Growth]) -> Table:
    """A row for what each process holds of each kind."""
    shown = Table("what", "process", "early", "late", "flat")
    for each in found:
        flat = "yes" if each.is_flat else "NO"
        shown.add_row(each.kind.name, each.process, f"{each.early:.1f}", f"{each.late:.1f}", flat)
    return shown


def main() -> None:
    """Exit with 1 where something grew, or a call failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder), "--replicas", "2", **SETTINGS) as stack,
    ):
        samples, ends = asyncio.run(soak(stack, options.minutes))
    found = growths(samples)
    console = Console(width=120)
    console.print(table(found))
    console.print(", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    plot(samples, options.plot)
    went_well = all(end.endswith(f": {OK}") for end in ends)
    sys.exit(0 if went_well and all(each.is_flat for each in found) else 1)


if __name__ == "__main__":
    main()
