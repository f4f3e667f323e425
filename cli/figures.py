"""A figure that a bench measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, and what it shall stay at or below.

    Attributes:
        name: What was measured.
        value: It.
        unit: Its unit; empty for a count.
        target: What it shall stay at or below; None where there is no such figure.
    """

    name: str
    value: float
    unit: str = "ms"
    target: float | None = None

    def cells(self) -> list[str]:
        """The figure as a row of a table."""
        target = "" if self.target is None else f"{self.target:g} {self.unit}"
        value = f"{self.value:.2f} {self.unit}" if self.unit else f"{self.value:.4g}"
        return [self.name, value, target.strip()]
