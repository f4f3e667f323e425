"""Arithmetic with complex numbers: `(1 + 2i) * 3i`, `sqrt(-4)`."""

from __future__ import annotations

import ast
import cmath
import math
import operator
import re
from collections.abc import Callable
from typing import Any

from services.tools.builtin.expression import (
    CONSTANTS,
    FUNCTIONS,
    OPERATORS,
    Arithmetic,
    Functions,
    Number,
    Operators,
    checked,
    evaluating,
    power,
    real,
    rounded,
    spelled,
)

# 2i is how people write what Python writes 2j.
_IMAGINARY = re.compile(r"(?<![\w.])(\d+\.?\d*(?:[eE][+-]?\d+)?)i(?!\w)")
_NOISE = 1e-14


def evaluate_complex(expression: str) -> tuple[Number, Number]:
    """The real and the imaginary part of the expression's value, to 12 significant digits.

    Raises:
        ExpressionInvalid: It is no arithmetic, is undefined, or is too large.
    """
    with evaluating():
        value = _Complex().eval(_IMAGINARY.sub(r"\1j", spelled(expression)))
        if not isinstance(value, complex):
            return rounded(real(value)), 0
        size = abs(value)
        return _part(value.real, size), _part(value.imag, size)


def _part(value: float, size: float) -> Number:
    """A part without what is only the noise of the other: exp(i * pi) is -1."""
    return 0.0 if abs(value) < size * _NOISE else rounded(value)


def _number(value: Any) -> Any:
    """The value, if it is a number that may be; otherwise ValueError, OverflowError or TooLarge."""
    if type(value) is not complex:
        return real(value)
    if not cmath.isfinite(value):
        raise OverflowError("not a finite number")
    return value


class _Complex(Arithmetic):
    """Arithmetic with the imaginary unit."""

    def __init__(self) -> None:
        super().__init__(_OPERATORS, _FUNCTIONS, {**CONSTANTS, "i": 1j, "j": 1j})

    def check(self, value: Any) -> Any:
        return _number(value)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, complex) or isinstance(exponent, complex) or (base < 0 and exponent != int(exponent)):
        return _number(complex(base) ** exponent)
    return power(base, exponent)


def _either(plain: Callable[..., Any], complex_one: Callable[..., Any]) -> Callable[..., Any]:
    """The plain function where it is defined, the complex one elsewhere."""

    def call(*values: Any) -> Any:
        if not any(isinstance(value, complex) for value in values):
            try:
                return plain(*values)
            except ValueError:
                pass
        return _number(complex_one(*values))

    return call


_OPERATORS: Operators = {
    **OPERATORS,
    ast.Add: checked(operator.add, _number),
    ast.Sub: checked(operator.sub, _number),
    ast.Mult: checked(operator.mul, _number),
    ast.Div: checked(operator.truediv, _number),
    ast.Pow: _power,
}

_BOTH = (
    *("sqrt", "exp", "log", "log10", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
)

_FUNCTIONS: Functions = {
    **FUNCTIONS,
    **{name: _either(FUNCTIONS[name], getattr(cmath, name)) for name in _BOTH},
    "ln": _either(FUNCTIONS["ln"], cmath.log),
    "pow": _power,
    "abs": checked(abs),
    "re": checked(lambda value: value.real),
    "im": checked(lambda value: value.imag),
    "conj": checked(lambda value: value.conjugate(), _number),
    "phase": checked(lambda value: cmath.phase(value)),
    "polar": checked(lambda size, angle: cmath.rect(size, math.fmod(angle, math.tau)), _number),
}
