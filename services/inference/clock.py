"""What is used of an event loop's clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Alarm(Protocol):
    """Something that will be called at its time."""

    def cancel(self) -> None:
        """Do not call it."""
        ...


class Clock(Protocol):
    """Tells the time and wakes; an event loop is one."""

    def time(self) -> float:
        """The time, in seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm:
        """Call this at that time."""
        ...
