"""Shows what the processes of a stack do, and writes it down for `parley status` and `parley down`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cli.home import StackState, process_state, this_process
from cli.local.probes import local_address
from cli.local.progress import Progress
from cli.local.stack import StackPlan
from cli.local.supervisor import Change, Phase, Supervisor
from services.rpc.tasks import end_task

RETRY_SECONDS = 1.0


class StateKeeper:
    """Told of each change. Neither a full disk nor a terminal that is gone ends what is supervised."""

    supervisor: Supervisor | None = None

    def __init__(self, plan: StackPlan, progress: Progress) -> None:
        self._plan = plan
        self._progress = progress
        self._own = this_process()
        self._unwritten = asyncio.Event()

    def change(self, change: Change) -> None:
        """A process entered a phase."""
        with contextlib.suppress(OSError):
            self._progress.change(change)
        self._write()

    @contextlib.asynccontextmanager
    async def catching_up(self) -> AsyncIterator[None]:
        """Write what could not be written as soon as it can, until the block's end."""
        task = asyncio.create_task(self._retry())
        try:
            yield
        finally:
            await end_task(task)

    async def _retry(self) -> None:
        while True:
            await self._unwritten.wait()
            await asyncio.sleep(RETRY_SECONDS)
            self._unwritten.clear()
            self._write()

    def _write(self) -> None:
        try:
            self._plan.home.write_state(self._state())
        except OSError:
            self._unwritten.set()

    def _state(self) -> StackState:
        processes = self.supervisor.processes if self.supervisor is not None else []
        states = {
            process.spec.name: process_state(
                process.child.pid if process.child else 0,
                phase=process.phase,
                restarts=process.restarts,
                address=process.spec.address,
            )
            for process in processes
            if process.phase is not Phase.STOPPED
        }
        address = local_address(self._plan.edge_address)
        return StackState(supervisor=self._own, edge_address=address, processes=states)
