"""A figure that a bench measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cli.console import print_json, print_table


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


def show_figures(figures: Sequence[Figure], *, as_json: bool) -> None:
    """Writes figures as a table, or as JSON for scripts."""
    if as_json:
        print_json({"figures": [asdict(figure) for figure in figures]})
    else:
        print_table(["figure", "measured", "target"], (figure.cells() for figure in figures))
