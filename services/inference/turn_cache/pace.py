"""How replicas that share a turn keep in touch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How replicas that share a turn keep in touch.

    Attributes:
        beat_seconds: Between two signs of life.
        silence_seconds: After this nobody is waited for.
        look_seconds: What the store has to answer in; a wait that is seldom
            longer than the answer itself would take.
        pause_seconds: For how long the store is left alone when it did not.
    """

    beat_seconds: float = 1.0
    silence_seconds: float = 3.0
    look_seconds: float = 0.5
    pause_seconds: float = 3.0
