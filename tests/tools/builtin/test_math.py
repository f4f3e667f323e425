from __future__ import annotations

import json
import statistics as stdlib
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.tools.builtin.expression import rounded
from services.tools.builtin.math import (
    MAX_NUMBERS,
    CalculatorArguments,
    Operation,
    StatisticsArguments,
    calculator,
    statistics,
)
from services.tools.catalogue import WorkerCall
from services.tools.errors import ToolFailed
from services.tools.workspace import Owner, Workspaces


@pytest.fixture
def call(workspaces: Workspaces) -> WorkerCall:
    return WorkerCall(Owner("t", "u"), workspaces, lambda _what: None)


def figures(call: WorkerCall, data: list[float], *operations: str) -> dict[str, object]:
    arguments = {"data": data, **({"operations": list(operations)} if operations else {})}
    return json.loads(statistics.run(StatisticsArguments(**arguments), call).to_json())


def test_the_calculator_answers_as_the_model_learned_it(call: WorkerCall) -> None:
    result = calculator.run(CalculatorArguments(expression="17 * 23"), call)
    assert result.to_json() == '{"expression":"17 * 23","result":391}'


@pytest.mark.parametrize("expression", ["", "1" * 1001])
def test_the_calculator_s_arguments_are_bounded(expression: str) -> None:
    with pytest.raises(ValidationError):
        CalculatorArguments(expression=expression)


def test_statistics_gives_what_was_asked_and_nothing_else(call: WorkerCall) -> None:
    assert figures(call, [4, 8, 3.9], "mean") == {"mean": 5.3}
    assert figures(call, [3, 1, 2, 2], "median", "mode", "range") == {"median": 2.0, "mode": 2, "range": 2}
    assert figures(call, [1, 2, 3, 4], "std", "variance") == {"std": 1.29099444874, "variance": 1.66666666667}
    assert figures(call, [1, 2, 3], "min", "max", "sum", "count") == {
        "min": 1,
        "max": 3,
        "sum": 6,
        "count": 3,
    }


def test_percentiles_are_those_of_the_inclusive_method(call: WorkerCall) -> None:
    assert figures(call, list(range(101)), "percentiles") == {
        "percentiles": {"p25": 25.0, "p50": 50.0, "p75": 75.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
    }


def test_by_default_everything_that_makes_sense_is_computed(call: WorkerCall) -> None:
    assert figures(call, [1, 2]).keys() == set(get_args(Operation)) - {"percentiles"}
    assert figures(call, [5]).keys() == set(get_args(Operation)) - {"percentiles", "std", "variance"}


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": []},
        {"data": ["1"]},
        {"data": [True]},
        {"data": [float("nan")]},
        {"data": [float("inf")]},
        {"data": [1] * (MAX_NUMBERS + 1)},
        {"data": [1], "operations": []},
        {"data": [1], "operations": ["guess"]},
        {"data": [1], "operations": ["std"]},
        {"data": [1], "operations": ["percentiles"]},
        {"operations": ["mean"]},
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StatisticsArguments(**arguments)


@pytest.mark.parametrize("data", [[1e308, 1e308], [10**400, 0.5]])
def test_numbers_too_large_to_compute_with_fail_plainly(call: WorkerCall, data: list[float]) -> None:
    with pytest.raises(ToolFailed, match="too large"):
        figures(call, data, "sum", "mean", "variance")


@given(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_figures_are_the_library_s(data: list[float]) -> None:
    call = WorkerCall(Owner("t", "u"), Workspaces(None, None), lambda _what: None)
    result = figures(call, data, "mean", "median", "std", "count")
    assert result["mean"] == rounded(stdlib.mean(data))
    assert result["median"] == rounded(stdlib.median(data))
    assert result["std"] == rounded(stdlib.stdev(data))
    assert result["count"] == len(data)
