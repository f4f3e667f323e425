from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.bench.calls import call_rows
from cli.bench.figures import Figure
from cli.bench.sandbox import KINDS, sandbox_rows
from tests.cli.conftest import Run


async def test_both_sandboxes_are_measured_and_leave_nothing() -> None:
    rows = {row.name: row for row in await sandbox_rows(starts=1, programs=3)}
    for kind in KINDS:
        assert rows[f"a program in {kind}, p50"].value > 0
        assert rows[f"added by {kind}, p50"].target == 40
        assert rows[f"processor time added by {kind}, p50"].value > 0
        assert rows[f"processes, handles and files that they left in {kind}"].value == 0


async def test_calls_are_measured_through_the_edge_and_leave_nothing(tmp_path: Path) -> None:
    rows = {row.name: row for row in await call_rows(tmp_path, samples=1, calls=8)}
    assert rows["16 calls of 200 ms at once, times the slowest"].value >= 1
    assert rows["a safe tool in process, p50"].value > 0
    assert rows["a tool in the sandbox adds to its work, p50"].value > 0
    assert rows["8 calls at once, all of them"].value > 0
    for what in ("processes", "handles", "temporary files"):
        assert rows[f"{what} that they left"].value == 0


@pytest.mark.parametrize(
    ("figure", "cells"),
    [
        (Figure("a", 1.234, target=40), ["a", "1.23 ms", "40 ms"]),
        (Figure("b", 3, "", 0), ["b", "3", "0"]),
        (Figure("c", 5), ["c", "5.00 ms", ""]),
    ],
)
def test_a_figure_shows_its_unit_and_target(figure: Figure, cells: list[str]) -> None:
    assert figure.cells() == cells


def test_what_is_not_there_is_not_measured(alone: Run) -> None:
    answer = alone("bench", "tools", "--only", "nothing")
    assert answer.exit_code != 0
    assert "nothing called nothing" in answer.stderr


def test_figures_are_json_for_scripts(alone: Run) -> None:
    answer = alone("bench", "tools", "--only", "sandbox", "--starts", "3", "--calls", "1", "--json")
    assert answer.exit_code == 0
    assert {"name", "value", "unit", "target"} == json.loads(answer.stdout)[0].keys()
