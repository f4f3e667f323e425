"""One run of a process: its start, its readiness, its last words and its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.local.groups import ProcessGroups
from cli.local.logs import LogFile
from services.rpc.leaving import LEAVE_SIGNAL

PROBE_SECONDS = 0.1
PROBE_LIMIT_SECONDS = 5.0


@dataclass(frozen=True)
class ChildSpec:
    """What to run and how to tell that it is ready.

    Attributes:
        name: For people, logs and the state.
        command: Program and arguments. No secrets: everyone on the machine can read them.
        environment: All that it gets; nothing is inherited.
        is_ready: Whether it answers now. May raise OSError for no.
        log: Where its output goes.
        folder: Its working directory.
        address: Where it listens, for the state.
        start_seconds: Time that it has to become ready.
        stop_seconds: Time that it has to end after SIGTERM.
        stop_rank: When it ends: lower ranks before higher ones.
        drain: Called before anything is ended, to let running calls end; None
            where there is nothing to do. Has its own time limit.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], Awaitable[bool]] = field(repr=False)
    log: Path
    folder: Path
    address: str = ""
    start_seconds: float = 60.0
    stop_seconds: float = 15.0
    stop_rank: int = 0
    drain: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)


class Child:
    """A process that was started, with everything that it starts in turn (its group)."""

    def __init__(
        self, spec: ChildSpec, process: asyncio.subprocess.Process, groups: ProcessGroups, log: LogFile
    ) -> None:
        self.pid = process.pid
        self._spec = spec
        self._process = process
        self._groups = groups
        self._log = log
        self._ended = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(cls, spec: ChildSpec, groups: ProcessGroups) -> Child:
        """Starts the process in a group of its own.

        Raises:
            OSError: It cannot be run.
        """
        log = LogFile(spec.log)
        with log.opened() as output:
            process = await asyncio.create_subprocess_exec(
                *spec.command,
                env=dict(spec.environment),
                cwd=spec.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        groups.began(process.pid)
        return cls(spec, process, groups, log)

    @property
    def has_ended(self) -> bool:
        """Whether the process itself is gone."""
        return self._ended.done()

    def last_step(self) -> str:
        """What the process said last about its start."""
        return self._log.last_step()

    async def until_ready(self) -> bool:
        """Waits until the process answers. False where it ended or took too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._spec.start_seconds):
                while not self.has_ended:
                    if await self._probe():
                        return True
                    await asyncio.wait({self._ended}, timeout=PROBE_SECONDS)
        return False

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_LIMIT_SECONDS):
                return await self._spec.is_ready()
        except (OSError, TimeoutError):
            return False

    async def until_ended(self) -> str:
        """Waits until the process ends, and says how, with its last words."""
        while not self.has_ended:
            await asyncio.wait({self._ended}, timeout=self._log.look_seconds)
            self._log.rotate_if_large()
        status = self._ended.result()
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        words = self._log.last_words()
        return f"{how}: {words}" if words else how

    async def leave(self, seconds: float) -> None:
        """Tells the process to end when nothing is under way any more, and waits for so long."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(LEAVE_SIGNAL)
        await asyncio.wait({self._ended}, timeout=seconds)

    async def stop(self) -> None:
        """Tells the process to end; kills its group after its grace time."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        await asyncio.wait({self._ended}, timeout=self._spec.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        """Kills what is left of the group."""
        self._groups.kill(self.pid)
        await self._ended
