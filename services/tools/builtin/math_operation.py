"""A calculation by its name: for callers that would rather pick an operation than write an expression."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

from pydantic import Field, model_validator

from services.tools.builtin.expression import FUNCTIONS, OPERATORS, Number, evaluating, real, rounded
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool

MAX_VALUES = 1000

Operation = Literal[
    "add",
    "subtract",
    "multiply",
    "divide",
    "floor_divide",
    "modulo",
    "power",
    "sqrt",
    "cbrt",
    "log",
    "exp",
    "absolute",
    "negate",
    "reciprocal",
    "round",
    "floor",
    "ceil",
    "factorial",
    "gcd",
    "lcm",
    "sin",
    "cos",
    "tan",
    "hypotenuse",
]


@dataclass(frozen=True)
class _Step:
    """How an operation is computed.

    Attributes:
        run: From its values to the result.
        least: Fewest values it takes.
        most: Most values it takes.
    """

    run: Callable[..., Any]
    least: int
    most: int


def _one(name: str) -> _Step:
    return _Step(FUNCTIONS[name], 1, 1)


def _row(operator: type[ast.AST], most: int = MAX_VALUES) -> _Step:
    """The operator between all the values, from left to right."""
    return _Step(lambda *values: reduce(OPERATORS[operator], values), 2, most)


_STEPS: Mapping[str, _Step] = {
    "add": _row(ast.Add),
    "subtract": _row(ast.Sub),
    "multiply": _row(ast.Mult),
    "divide": _row(ast.Div),
    "floor_divide": _row(ast.FloorDiv, 2),
    "modulo": _row(ast.Mod, 2),
    "power": _row(ast.Pow, 2),
    "sqrt": _one("sqrt"),
    "cbrt": _one("cbrt"),
    "log": _Step(FUNCTIONS["log"], 1, 2),
    "exp": _one("exp"),
    "absolute": _one("abs"),
    "negate": _Step(OPERATORS[ast.USub], 1, 1),
    "reciprocal": _Step(lambda value: OPERATORS[ast.Div](1, value), 1, 1),
    "round": _Step(FUNCTIONS["round"], 1, 2),
    "floor": _one("floor"),
    "ceil": _one("ceil"),
    "factorial": _one("factorial"),
    "gcd": _Step(math.gcd, 2, MAX_VALUES),
    "lcm": _Step(lambda *values: reduce(FUNCTIONS["lcm"], values), 2, MAX_VALUES),
    "sin": _one("sin"),
    "cos": _one("cos"),
    "tan": _one("tan"),
    "hypotenuse": _Step(FUNCTIONS["hypot"], 2, MAX_VALUES),
}


class MathOperationArguments(Arguments):
    """What `math_operation` takes."""

    operation: Operation = Field(
        description="What to compute. log takes a number and perhaps a base (default e), round a number and "
        "perhaps digits, power a base and an exponent; sin, cos and tan take radians.",
        examples=["divide"],
    )
    values: list[Number] = Field(
        min_length=1, max_length=MAX_VALUES, description="The numbers, in order.", examples=[[7, 2]]
    )

    @model_validator(mode="after")
    def _right_number(self) -> MathOperationArguments:
        step = _STEPS[self.operation]
        if not step.least <= len(self.values) <= step.most:
            wanted = str(step.least) if step.least == step.most else f"{step.least} to {step.most}"
            raise ValueError(f"{self.operation} takes {wanted} values")
        return self


class MathOperationResult(ToolResult):
    """What `math_operation` gives."""

    operation: Operation
    result: Number = Field(description="The value; a fraction is rounded to 12 significant digits.")


@tool(
    category=Category.MATH,
    safety=SafetyLevel.SAFE,
    timeout_seconds=5,
    examples=(
        Example("Divide", {"operation": "divide", "values": [7, 2]}, {"operation": "divide", "result": 3.5}),
        Example(
            "The greatest common divisor",
            {"operation": "gcd", "values": [84, 36, 60]},
            {"operation": "gcd", "result": 12},
        ),
    ),
)
def math_operation(arguments: MathOperationArguments, _call: WorkerCall) -> MathOperationResult:
    """Computes one of 24 named operations on numbers, from add to hypotenuse."""
    with evaluating("math_operation"):
        values = [real(value) for value in arguments.values]
        result = rounded(real(_STEPS[arguments.operation].run(*values)))
    return MathOperationResult(operation=arguments.operation, result=result)


TOOLS = (math_operation,)
