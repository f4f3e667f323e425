"""Tools that calculate."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from pydantic import Field, model_validator

from services.tools.builtin.expression import MAX_EXPRESSION_CHARACTERS, Number, evaluate, rounded
from services.tools.catalogue import Arguments, Category, SafetyLevel, ToolResult, WorkerCall, tool
from services.tools.errors import ToolFailed

MAX_NUMBERS = 10_000
PERCENTILES = (25, 50, 75, 90, 95, 99)

Operation = Literal[
    "mean", "median", "mode", "std", "variance", "min", "max", "sum", "count", "range", "percentiles"
]
_NEED_TWO = ("std", "variance", "percentiles")


class CalculatorArguments(Arguments):
    """What `calculator` takes."""

    expression: str = Field(
        min_length=1,
        max_length=MAX_EXPRESSION_CHARACTERS,
        description="Arithmetic with + - * / // ** % ( ), functions such as sqrt, sin, log, factorial, "
        "round, min and max, and the constants pi, e and tau. Angles are in radians.",
        examples=["17 * 23", "sqrt(2) ** 3"],
    )


class CalculatorResult(ToolResult):
    """What `calculator` gives."""

    expression: str = Field(description="The expression, as it was given.")
    result: Number = Field(description="Its value; a fraction is rounded to 12 significant digits.")


@tool(category=Category.MATH, safety=SafetyLevel.SAFE, timeout_seconds=5)
def calculator(arguments: CalculatorArguments, _call: WorkerCall) -> CalculatorResult:
    """Evaluates an arithmetic expression exactly for whole numbers, and to 12 digits for others."""
    return CalculatorResult(expression=arguments.expression, result=evaluate(arguments.expression))


class StatisticsArguments(Arguments):
    """What `statistics` takes."""

    data: list[Number] = Field(
        min_length=1, max_length=MAX_NUMBERS, description="The numbers.", examples=[[3, 5.5, 8]]
    )
    operations: list[Operation] = Field(
        default_factory=lambda: list(get_args(Operation)[:-1]),
        min_length=1,
        max_length=len(get_args(Operation)),
        description="What to compute; all but percentiles by default. "
        "std and variance are those of a sample (n - 1).",
    )

    @model_validator(mode="after")
    def _enough_numbers(self) -> StatisticsArguments:
        asked = [operation for operation in self.operations if operation in _NEED_TWO]
        if len(self.data) < 2 and asked and "operations" in self.model_fields_set:
            raise ValueError(f"{asked[0]} needs at least two numbers")
        return self


class Percentiles(ToolResult):
    """The values below which a share of the numbers lies."""

    p25: Number
    p50: Number
    p75: Number
    p90: Number
    p95: Number
    p99: Number


class StatisticsResult(ToolResult):
    """What `statistics` gives: the operations that were asked for."""

    mean: Number | None = None
    median: Number | None = None
    mode: Number | None = Field(None, description="The most frequent number; of several, the first.")
    std: Number | None = None
    variance: Number | None = None
    min: Number | None = None
    max: Number | None = None
    sum: Number | None = None
    count: int | None = None
    range: Number | None = None
    percentiles: Percentiles | None = None


def _percentiles(data: Sequence[Number]) -> Percentiles:
    cuts = stdlib.quantiles(data, n=100, method="inclusive")
    return Percentiles(**{f"p{share}": rounded(cuts[share - 1]) for share in PERCENTILES})


_COMPUTE: Mapping[str, Callable[[Sequence[Number]], Number]] = {
    "mean": stdlib.mean,
    "median": stdlib.median,
    "mode": stdlib.mode,
    "std": stdlib.stdev,
    "variance": stdlib.variance,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "range": lambda data: max(data) - min(data),
}


@tool(category=Category.MATH, safety=SafetyLevel.SAFE, timeout_seconds=10)
def statistics(arguments: StatisticsArguments, _call: WorkerCall) -> StatisticsResult:
    """Computes statistics of a list of numbers, such as mean, median, standard deviation and sum."""
    data = arguments.data
    asked = [name for name in arguments.operations if len(data) > 1 or name not in _NEED_TWO]
    try:
        figures = {name: rounded(_COMPUTE[name](data)) for name in asked if name in _COMPUTE}
        percentiles = _percentiles(data) if "percentiles" in asked else None
        return StatisticsResult.model_validate({**figures, "percentiles": percentiles})
    except (OverflowError, ValueError):
        raise ToolFailed("statistics", "The numbers are too large to compute with.") from None


TOOLS = (calculator, statistics)
