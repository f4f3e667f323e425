"""Evaluates arithmetic written by anyone, in bounded time and space.

simpleeval walks Python's syntax tree; here it gets only the nodes, operators,
functions and names of arithmetic. Whatever could grow (`**`, `*`, factorials)
is checked before it is computed, so no expression takes more than milliseconds.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import WithJsonSchema
from simpleeval import (
    FeatureNotAvailable,
    FunctionNotDefined,
    InvalidExpression,
    OperatorNotDefined,
    SimpleEval,
)

from services.tools.errors import ExpressionInvalid, quoted

# One JSON type; Python keeps whole numbers exact.
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]

MAX_EXPRESSION_CHARACTERS = 1000
MAX_BITS = 4096  # 1,234 decimal digits: far beyond need, far below any strain
MAX_FUNCTION_ARGUMENT = 1000
SIGNIFICANT_DIGITS = 12

# What people type: multiplication, division and minus signs, a middle dot and pi.
_TYPED = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "\u00b7": "*", "\u03c0": "pi"})


Operators = Mapping[type[ast.AST], Callable[..., Any]]
Functions = Mapping[str, Callable[..., Any]]


class TooLarge(Exception):
    """A number would be larger than it may be."""


def evaluate(expression: str) -> Number:
    """The expression's value: an int exactly, a float to 12 significant digits.

    Raises:
        ExpressionInvalid: It is no arithmetic, is undefined, or is too large.
    """
    with evaluating():
        return rounded(real(Arithmetic().eval(spelled(expression))))


@contextmanager
def evaluating(tool: str = "calculator") -> Iterator[None]:
    """Turns whatever goes wrong with an expression into the error that says so.

    Raises:
        ExpressionInvalid: What happened within, in words for whoever wrote the expression.
    """
    try:
        yield
    except Exception as error:
        for kind, told in _TOLD.items():
            if isinstance(error, kind):
                raise ExpressionInvalid(told(error), tool) from None
        raise


def rounded(value: Number) -> Number:
    """An int as it is; a float to 12 significant digits, which hides binary noise.

    Raises:
        OverflowError: The value is infinite or no number.
    """
    if isinstance(value, int):
        return value
    if not math.isfinite(value):
        raise OverflowError("not a finite number")
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


class Arithmetic(SimpleEval):  # type: ignore[misc] # publishes no types
    """simpleeval with nothing but arithmetic."""

    def __init__(
        self,
        operators: Operators | None = None,
        functions: Functions | None = None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        """Evaluate with these; with those of real numbers by default."""
        super().__init__(
            operators=dict(operators or OPERATORS),
            functions=dict(functions or FUNCTIONS),
            names=dict(constants or CONSTANTS),
        )
        for kind in self.nodes.keys() - {ast.Constant, ast.UnaryOp, ast.BinOp, ast.Call, ast.Name}:
            del self.nodes[kind]

    def check(self, value: Any) -> Any:
        """A value that stands in the expression, if it may be; otherwise ValueError or TooLarge."""
        return real(value)

    def parse(self, expr: str) -> ast.AST:
        """One expression; statements are refused rather than ignored."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as for `1(2)`, which fails anyway
            body = ast.parse(expr, mode="eval").body
        for node in ast.walk(body):
            if isinstance(node, ast.Call) and (node.keywords or not isinstance(node.func, ast.Name)):
                raise ValueError("only functions such as sqrt can be called")
            if isinstance(node, ast.Constant):
                self.check(node.value)
        return body

    def _eval_name(self, node: ast.Name) -> Any:
        """A constant; a function's name alone is no value."""
        if node.id not in self.names:
            raise ValueError(f"the name {node.id} is unknown")
        return self.names[node.id]


def spelled(expression: str) -> str:
    """The expression in Python's spelling."""
    text = expression.translate(_TYPED).strip()
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


def real(value: Any) -> Number:
    """The value, if it is a number that may be.

    Raises:
        ValueError: It is something else.
    """
    if type(value) is int:
        return _bounded(value)
    if type(value) is float:
        return value
    kind = "a complex number" if isinstance(value, complex) else f"a {type(value).__name__}"
    raise ValueError(f"{kind} is no real number")


def _bounded(value: int) -> int:
    if value.bit_length() > MAX_BITS:
        raise TooLarge
    return value


def checked(function: Callable[..., Any], check: Callable[[Any], Any] = real) -> Callable[..., Any]:
    """The function, refusing results that are too large or, by default, not real."""

    def call(*values: Any) -> Any:
        return check(function(*values))

    return call


def power(base: Number, exponent: Number) -> Number:
    """The power, computed only where it cannot grow too large.

    Raises:
        TooLarge: It would.
    """
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 2 * MAX_BITS:
        if abs(base) > 1:
            raise TooLarge
        exponent = exponent % 2 + 2  # 0, 1 and -1 stay small; only the exponent is huge
    return real(base**exponent)


def _small(function: Callable[..., int]) -> Callable[..., Number]:
    """The function for arguments of which it cannot make a burden."""

    def call(*values: Number) -> Number:
        if any(abs(value) > MAX_FUNCTION_ARGUMENT for value in values):
            raise TooLarge
        return real(function(*values))

    return call


def _round(value: Number, digits: int = 0) -> Number:
    if abs(digits) > MAX_FUNCTION_ARGUMENT:
        raise TooLarge
    return round(value, digits) if digits else round(value)


__REAL_FUNCTIONS = (
    *("sqrt", "cbrt", "exp", "log", "log2", "log10", "hypot", "fmod"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees", "radians"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    *("floor", "ceil", "trunc", "gcd", "lcm"),
)

_TOLD: Mapping[type[Exception], Callable[[Any], str]] = {
    ZeroDivisionError: lambda _: "The expression divides by zero.",
    TooLarge: lambda _: "A number in the expression becomes too large.",
    OverflowError: lambda _: "A number in the expression becomes too large.",
    RecursionError: lambda _: "The expression is nested too deeply.",
    MemoryError: lambda _: "The expression is nested too deeply.",  # for Python's parser
    SyntaxError: lambda _: "The expression is not valid arithmetic; check brackets and operators.",
    OperatorNotDefined: lambda _: "Only + - * / // % and ** (for powers) can be used.",
    FunctionNotDefined: lambda error: f"There is no function {quoted(error.func_name)}.",
    FeatureNotAvailable: lambda _: "Only numbers, operators and functions such as sqrt can be used.",
    InvalidExpression: lambda error: _cannot(error),
    ValueError: lambda error: _cannot(error),
    TypeError: lambda error: _cannot(error),
}


def _cannot(error: Exception) -> str:
    return f"The expression cannot be evaluated: {quoted(str(error)).rstrip('.')}."


CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}

OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: checked(operator.add),
    ast.Sub: checked(operator.sub),
    ast.Mult: checked(operator.mul),
    ast.Div: checked(operator.truediv),
    ast.FloorDiv: checked(operator.floordiv),
    ast.Mod: checked(operator.mod),
    ast.Pow: power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}

FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    **{name: checked(getattr(math, name)) for name in __REAL_FUNCTIONS},
    **{name: _small(getattr(math, name)) for name in ("factorial", "comb", "perm")},
    "ln": checked(math.log),
    "abs": checked(abs),
    "min": checked(min),
    "max": checked(max),
    "sum": checked(lambda *values: sum(values)),
    "pow": power,
    "round": checked(_round),
}
