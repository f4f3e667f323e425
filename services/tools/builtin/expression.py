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
from collections.abc import Callable, Mapping
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


class _TooLarge(Exception):
    """A number would be larger than it may be."""


def evaluate(expression: str) -> Number:
    """The expression's value: an int exactly, a float to 12 significant digits.

    Raises:
        ExpressionInvalid: It is no arithmetic, is undefined, or is too large.
    """
    try:
        return rounded(_real(_Arithmetic().eval(_tree_text(expression))))
    except ZeroDivisionError:
        raise ExpressionInvalid("The expression divides by zero.") from None
    except (_TooLarge, OverflowError):
        raise ExpressionInvalid("A number in the expression becomes too large.") from None
    except (RecursionError, MemoryError):  # of Python's parser
        raise ExpressionInvalid("The expression is nested too deeply.") from None
    except SyntaxError:
        raise ExpressionInvalid(
            "The expression is not valid arithmetic; check brackets and operators."
        ) from None
    except OperatorNotDefined:
        raise ExpressionInvalid("Only + - * / // % and ** (for powers) can be used.") from None
    except FunctionNotDefined as error:
        raise ExpressionInvalid(f"There is no function {quoted(error.func_name)}.") from None
    except FeatureNotAvailable:
        raise ExpressionInvalid("Only numbers, operators and functions such as sqrt can be used.") from None
    except (InvalidExpression, ValueError, TypeError) as error:
        raise ExpressionInvalid(
            f"The expression cannot be evaluated: {quoted(str(error)).rstrip('.')}."
        ) from None


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


class _Arithmetic(SimpleEval):  # type: ignore[misc] # publishes no types
    """simpleeval with nothing but arithmetic."""

    def __init__(self) -> None:
        super().__init__(operators=dict(_OPERATORS), functions=dict(_FUNCTIONS), names=dict(_CONSTANTS))
        for kind in self.nodes.keys() - {ast.Constant, ast.UnaryOp, ast.BinOp, ast.Call, ast.Name}:
            del self.nodes[kind]

    @staticmethod
    def parse(expr: str) -> ast.AST:
        """One expression; statements are refused rather than ignored."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # such as for `1(2)`, which fails anyway
            body = ast.parse(expr, mode="eval").body
        for node in ast.walk(body):
            if isinstance(node, ast.Call) and (node.keywords or not isinstance(node.func, ast.Name)):
                raise ValueError("only functions such as sqrt can be called")
            if isinstance(node, ast.Constant):
                _real(node.value)
        return body

    def _eval_name(self, node: ast.Name) -> Any:
        """A constant; a function's name alone is no value."""
        if node.id not in _CONSTANTS:
            raise ValueError(f"the name {node.id} is unknown")
        return _CONSTANTS[node.id]


def _tree_text(expression: str) -> str:
    """The expression in Python's spelling."""
    text = expression.translate(_TYPED).strip()
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    return text


def _real(value: Any) -> Number:
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
        raise _TooLarge
    return value


def _checked(function: Callable[..., Any]) -> Callable[..., Number]:
    """The function, refusing results that are too large or not real."""

    def call(*values: Number) -> Number:
        return _real(function(*values))

    return call


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 2 * MAX_BITS:
        if abs(base) > 1:
            raise _TooLarge
        exponent = exponent % 2 + 2  # 0, 1 and -1 stay small; only the exponent is huge
    return _real(base**exponent)


def _small(function: Callable[..., int]) -> Callable[..., Number]:
    """The function for arguments of which it cannot make a burden."""

    def call(*values: Number) -> Number:
        if any(abs(value) > MAX_FUNCTION_ARGUMENT for value in values):
            raise _TooLarge
        return _real(function(*values))

    return call


def _round(value: Number, digits: int = 0) -> Number:
    if abs(digits) > MAX_FUNCTION_ARGUMENT:
        raise _TooLarge
    return round(value, digits) if digits else round(value)


_REAL_FUNCTIONS = (
    *("sqrt", "cbrt", "exp", "log", "log2", "log10", "hypot", "fmod"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "degrees", "radians"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    *("floor", "ceil", "trunc", "gcd", "lcm"),
)

_CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _checked(operator.add),
    ast.Sub: _checked(operator.sub),
    ast.Mult: _checked(operator.mul),
    ast.Div: _checked(operator.truediv),
    ast.FloorDiv: _checked(operator.floordiv),
    ast.Mod: _checked(operator.mod),
    ast.Pow: _power,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}

_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    **{name: _checked(getattr(math, name)) for name in _REAL_FUNCTIONS},
    **{name: _small(getattr(math, name)) for name in ("factorial", "comb", "perm")},
    "ln": _checked(math.log),
    "abs": _checked(abs),
    "min": _checked(min),
    "max": _checked(max),
    "sum": _checked(lambda *values: sum(values)),
    "pow": _power,
    "round": _checked(_round),
}
