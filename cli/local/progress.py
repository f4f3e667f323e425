"""Shows a stack's start and what happens to it later."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table

from cli.local.supervisor import Change, Phase

REMIND_SECONDS = 10.0

_COLOURS = {Phase.READY: "green", Phase.DIED: "red", Phase.DRAINING: "yellow", Phase.STOPPING: "yellow"}


class Progress(Protocol):
    """Where the changes of a stack are told."""

    def step(self, text: str) -> None:
        """A step of the start that is no process."""
        ...

    def change(self, change: Change) -> None:
        """A process entered a phase."""
        ...

    def remind(self, steps: Mapping[str, str]) -> None:
        """Called often during the start, so that a long step is seen to be alive.

        Args:
            steps: What the processes that are starting say about it, by name.
        """
        ...


class PlainProgress:
    """A line per change, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._starting: dict[str, float] = {}
        self._reminded = time.monotonic()

    def step(self, text: str) -> None:
        """Writes a line."""
        self._console.print(text, highlight=False)

    def change(self, change: Change) -> None:
        """Writes a line, unless nobody needs to know."""
        if change.phase is Phase.STARTING:
            self._starting[change.name] = time.monotonic()
        else:
            self._starting.pop(change.name, None)
        if change.phase is not Phase.STOPPING:
            self._console.print(describe(change), highlight=False, soft_wrap=True)

    def remind(self, steps: Mapping[str, str]) -> None:
        """Writes which processes still start, and since when, every `REMIND_SECONDS`."""
        now = time.monotonic()
        if not steps or now - self._reminded < REMIND_SECONDS:
            return
        self._reminded = now
        late = (
            f"{name} ({now - self._starting.get(name, now):.0f} s) {step}" for name, step in steps.items()
        )
        self._console.print(f"still starting: {', '.join(late)}", markup=False, soft_wrap=True)


class LiveProgress:
    """A table that renews itself while the stack starts; lines after that."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._plain = PlainProgress(console)
        self._changes: dict[str, Change] = {}
        self._began: dict[str, float] = {}
        self._steps: Mapping[str, str] = {}
        self._live: Live | None = Live(self, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the table as it is then, and writes lines from now on."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._console.print(self.__rich__())

    def step(self, text: str) -> None:
        """Writes a line above the table."""
        self._plain.step(text)

    def change(self, change: Change) -> None:
        """Shows a change in the table, or as a line."""
        self._changes[change.name] = change
        self._began[change.name] = time.monotonic()
        if self._live is None or change.phase is Phase.DIED:
            self._plain.change(change)

    def remind(self, steps: Mapping[str, str]) -> None:
        """Puts what the processes say into the table, which renews itself."""
        self._steps = steps

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for change in self._changes.values():
            seconds = change.seconds or time.monotonic() - self._began[change.name]
            is_starting = change.phase is Phase.STARTING
            mark = Spinner("dots") if is_starting else "✓" if change.phase is Phase.READY else "·"
            step = escape(self._steps.get(change.name, "")) if is_starting else ""
            table.add_row(mark, change.name, _coloured(change.phase), f"{seconds:.1f} s", step)
        return table


def describe(change: Change) -> str:
    """A change as a line of markup."""
    after = f" after {change.seconds:.1f} s" if change.seconds else ""
    detail = f": {escape(change.detail)}" if change.detail else ""
    return f"{change.name:<12} {_coloured(change.phase)}{after}{detail}"


def _coloured(phase: Phase) -> str:
    colour = _COLOURS.get(phase)
    return f"[{colour}]{phase}[/{colour}]" if colour else str(phase)
