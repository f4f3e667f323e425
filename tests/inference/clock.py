"""A clock that goes on when a test says so."""

from __future__ import annotations

from collections.abc import Callable


class Alarm:
    """Rings once, unless it is cancelled."""

    def __init__(self, at: float, ring: Callable[[], object]) -> None:
        self.at = at
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[Alarm] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> Alarm:
        self.alarms.append(Alarm(when, callback))
        return self.alarms[-1]

    def go(self, seconds: float) -> None:
        self.now += seconds
        for alarm in self.alarms:
            if not alarm.cancelled and alarm.at <= self.now:
                alarm.cancelled = True
                alarm.ring()
