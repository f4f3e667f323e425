"""Tools that calculate."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from pydantic import Field, model_validator

from services.tools.builtin.complex_numbers import evaluate_complex
from services.tools.builtin.expression import MAX_EXPRESSION_CHARACTERS, Number, evaluate, rounded
from services.tools.builtin.units import MAX_UNIT_CHARACTERS, measure
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool
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
    numbers: Literal["real", "complex", "units"] = Field(
        "real",
        description="complex: i is the imaginary unit (3 + 2i). units: units may stand (3 km + 200 m).",
    )
    unit: str = Field(
        "",
        max_length=MAX_UNIT_CHARACTERS,
        description="With units: the unit to give the result in, such as km/h.",
        examples=[""],
    )

    @model_validator(mode="after")
    def _unit_of_units(self) -> CalculatorArguments:
        if self.unit and self.numbers != "units":
            raise ValueError("a unit needs numbers to be units")
        return self


class CalculatorResult(ToolResult):
    """What `calculator` gives."""

    expression: str = Field(description="The expression, as it was given.")
    result: Number = Field(description="Its value; a fraction is rounded to 12 significant digits.")
    imaginary: Number | None = Field(None, description="The imaginary part, of complex numbers.")
    unit: str | None = Field(None, description="The unit, of numbers with units; empty for a bare number.")


@tool(
    category=Category.MATH,
    safety=SafetyLevel.SAFE,
    timeout_seconds=5,
    examples=(
        Example("Multiply", {"expression": "17 * 23"}, {"expression": "17 * 23", "result": 391}),
        Example(
            "A root of a negative number",
            {"expression": "3 + sqrt(-4)", "numbers": "complex"},
            {"expression": "3 + sqrt(-4)", "result": 3.0, "imaginary": 2.0},
        ),
        Example(
            "How fast is 100 m in 9.58 s?",
            {"expression": "100 m / 9.58 s", "numbers": "units", "unit": "km/h"},
            {"expression": "100 m / 9.58 s", "result": 37.5782881002, "unit": "km / h"},
        ),
    ),
)
def calculator(arguments: CalculatorArguments, _call: WorkerCall) -> CalculatorResult:
    """Evaluates an arithmetic expression exactly for whole numbers, and to 12 digits for others."""
    expression = arguments.expression
    match arguments.numbers:
        case "complex":
            part, imaginary = evaluate_complex(expression)
            return CalculatorResult(expression=expression, result=part, imaginary=imaginary)
        case "units":
            found = measure(expression, arguments.unit)
            return CalculatorResult(expression=expression, result=found.number, unit=found.unit)
    return CalculatorResult(expression=expression, result=evaluate(expression))


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


@tool(
    category=Category.MATH,
    safety=SafetyLevel.SAFE,
    timeout_seconds=10,
    examples=(
        Example(
            "Mean and median",
            {"data": [4, 8, 3.9], "operations": ["mean", "median"]},
            {"mean": 5.3, "median": 4.0},
        ),
    ),
)
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
