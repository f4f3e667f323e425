"""A supervised process is told of, written down, and supervised on, whatever the disk and the terminal do."""

import asyncio
import contextlib
import io
from pathlib import Path
from typing import IO

from rich.console import Console

from cli.home import Home
from cli.local.progress import PlainProgress
from cli.local.stack import StackPlan
from cli.local.state_keeper import RETRY_SECONDS, StateKeeper
from cli.local.supervisor import Change, Phase


def keeper(home: Home, told: IO[str]) -> StateKeeper:
    return StateKeeper(StackPlan(home, (), None, {}, ""), PlainProgress(Console(file=told, width=100)))


async def test_what_cannot_be_written_is_written_when_it_can(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    in_the_way = home.path / "run"
    in_the_way.write_text("no folder")
    told = io.StringIO()
    keeping = keeper(home, told)
    async with keeping.catching_up(), asyncio.timeout(20 * RETRY_SECONDS):
        keeping.change(Change("auth", Phase.DIED, "exit status 1"))
        assert not home.state_path.exists()
        in_the_way.unlink()
        while home.running() is None:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.05)
    assert "auth         died: exit status 1" in told.getvalue()


def test_a_terminal_that_takes_no_more_ends_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    # Line by line, as a terminal: what cannot be written fails at once.
    with contextlib.suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:
        keeper(home, full).change(Change("auth", Phase.READY))
    assert home.running() is not None
