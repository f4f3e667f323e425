"""Who runs when: so many calls at once in all and per caller, and a bounded queue behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from services.rpc.errors import Overloaded


@dataclass
class _Line:
    """A caller's calls: those that run and those that wait."""

    running: asyncio.Semaphore
    present: int = 0


class Turns:
    """Hands out turns, first come, first served within a caller and between callers."""

    def __init__(self, *, running: int, running_per_caller: int, waiting_per_caller: int) -> None:
        """Bound the calls.

        Args:
            running: Most that run at once.
            running_per_caller: Most of one caller that run at once.
            waiting_per_caller: Most of one caller that wait behind those.
        """
        self._all = asyncio.Semaphore(running)
        self._running_per_caller = running_per_caller
        self._most_present = running_per_caller + waiting_per_caller
        self._lines: dict[Hashable, _Line] = {}

    @asynccontextmanager
    async def turn(self, caller: Hashable) -> AsyncIterator[None]:
        """Wait for the caller's turn and have it.

        Raises:
            Overloaded: Too many calls of this caller wait already.
        """
        line = self._lines.setdefault(caller, _Line(asyncio.Semaphore(self._running_per_caller)))
        if line.present >= self._most_present:
            raise Overloaded(
                f"{line.present} calls of this caller run or wait; wait for some to end.",
                retry_after=timedelta(seconds=1),
            )
        line.present += 1
        try:
            async with line.running, self._all:
                yield
        finally:
            line.present -= 1
            if not line.present:
                del self._lines[caller]

    @property
    def callers(self) -> int:
        """Callers with a call that runs or waits."""
        return len(self._lines)
