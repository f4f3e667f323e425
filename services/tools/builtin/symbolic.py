"""Algebra with symbols."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from services.tools.builtin.algebra import MAX_ALGEBRA_CHARACTERS, work_out
from services.tools.catalogue import Arguments, Category, Example, SafetyLevel, ToolResult, WorkerCall, tool

Operation = Literal["simplify", "expand", "factor", "solve", "differentiate", "integrate"]


class SymbolicArguments(Arguments):
    """What `symbolic` takes."""

    operation: Operation = Field(
        description="What to do with the expression; solve finds where it is zero, or where both sides of an "
        "equation with = are equal.",
        examples=["solve"],
    )
    expression: str = Field(
        min_length=1,
        max_length=MAX_ALGEBRA_CHARACTERS,
        description="Numbers, names of symbols, + - * / ** ( ), functions such as sqrt, sin, exp and log, "
        "and the constants pi, E and I.",
        examples=["x**2 - 5*x + 6"],
    )
    variable: str = Field(
        "",
        max_length=32,
        pattern=r"^([A-Za-z][A-Za-z0-9_]*)?$",
        description="The symbol to solve for, differentiate or integrate by; needed where there are several.",
        examples=["x"],
    )
    order: int = Field(1, ge=1, le=10, description="How often to differentiate.")
    lower: str | None = Field(
        None, min_length=1, max_length=100, description="Lower bound of a definite integral; an expression."
    )
    upper: str | None = Field(
        None, min_length=1, max_length=100, description="Upper bound of a definite integral; oo is infinity."
    )

    @model_validator(mode="after")
    def _bounds(self) -> SymbolicArguments:
        if (self.lower is None) is not (self.upper is None):
            raise ValueError("a definite integral needs both lower and upper")
        if self.lower is not None and self.operation != "integrate":
            raise ValueError("only integrate takes bounds")
        return self


class SymbolicResult(ToolResult):
    """What `symbolic` gives."""

    result: str | None = Field(None, description="The expression that was found.")
    solutions: list[str] | None = Field(None, description="The solutions, for solve.")
    value: float | None = Field(None, description="The result as a number, where it is a real one.")


@tool(
    category=Category.MATH,
    safety=SafetyLevel.SAFE,
    timeout_seconds=20,
    examples=(
        Example(
            "Solve an equation",
            {"operation": "solve", "expression": "x**2 = 5*x - 6"},
            {"solutions": ["2", "3"]},
        ),
        Example(
            "Differentiate",
            {"operation": "differentiate", "expression": "sin(x) * x**2", "variable": "x"},
            {"result": "x**2*cos(x) + 2*x*sin(x)"},
        ),
        Example(
            "A definite integral",
            {"operation": "integrate", "expression": "exp(-x**2)", "lower": "-oo", "upper": "oo"},
            {"result": "sqrt(pi)", "value": 1.77245385091},
        ),
    ),
)
def symbolic(arguments: SymbolicArguments, _call: WorkerCall) -> SymbolicResult:
    """Simplifies, expands, factors, solves, differentiates or integrates an expression with symbols."""
    found = work_out(
        arguments.operation,
        arguments.expression,
        variable=arguments.variable,
        order=arguments.order,
        bounds=(arguments.lower, arguments.upper) if arguments.lower and arguments.upper else None,
    )
    return SymbolicResult(result=found.result, solutions=found.solutions, value=found.value)


TOOLS = (symbolic,)
