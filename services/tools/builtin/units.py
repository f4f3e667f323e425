"""Arithmetic with units: `3 km + 200 m`, `60 mi/h`. Pint knows the units."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from services.tools.builtin.expression import (
    CONSTANTS,
    FUNCTIONS,
    OPERATORS,
    Arithmetic,
    Number,
    checked,
    evaluating,
    real,
    rounded,
    spelled,
)
from services.tools.errors import ExpressionInvalid, quoted

MAX_UNIT_CHARACTERS = 100
MAX_UNIT_EXPONENT = 30
# 3 km is three times a kilometre, and 100 m / 9.58 s divides by all of 9.58 s; 3e5 is a number.
_MEASURED = re.compile(
    r"(?<![\w.])(\d+\.?\d*(?:[eE][+-]?\d+)?)\s*"
    r"(?![eE][+-]?\d)([^\W\d_]\w*(?:\s*\*\*\s*-?\d+)?)(?![\w]|\s*\()"
)


@dataclass(frozen=True)
class Measure:
    """A number of a unit.

    Attributes:
        number: How many; rounded to 12 significant digits.
        unit: Of what; empty for a bare number.
    """

    number: Number
    unit: str


def measure(expression: str, unit: str) -> Measure:
    """The expression's value.

    Args:
        expression: Arithmetic in which names of units may stand.
        unit: The unit to give it in, as an expression too; empty leaves the expression's own.

    Raises:
        ExpressionInvalid: It is no arithmetic, a unit is unknown, or units do not fit each other.
    """
    import pint  # Half a second and 30 MiB: only those who need units pay.

    try:
        with evaluating():
            value = _quantity(expression)
            if unit:
                value = value.to(_quantity(unit).units)
            return Measure(_plain(value.magnitude), "" if value.unitless else f"{value.units:~}")
    except pint.PintError as error:
        raise ExpressionInvalid(f"A unit cannot be used so: {quoted(str(error)).rstrip('.')}.") from None


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(cache_folder=None, autoconvert_offset_to_baseunit=True)


def _quantity(expression: str) -> Any:
    return _registry().Quantity(_Units().eval(_MEASURED.sub(r"(\1*\2)", spelled(expression))))


def _plain(magnitude: Any) -> Number:
    """A whole number where it is one: pint turns 3000 into 3000.0 on its way."""
    number = rounded(real(magnitude))
    return int(number) if number == int(number) and abs(number) < 2**53 else number


class _Units(Arithmetic):
    """Arithmetic in which names may be units and values quantities."""

    def __init__(self) -> None:
        super().__init__(
            _OPERATORS, {**FUNCTIONS, "sqrt": _sqrt, "abs": checked(abs, _measurable)}, CONSTANTS
        )

    def _eval_name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            return self.names[node.id]
        if node.id.startswith("_") or node.id not in _registry():
            raise ValueError(f"there is no unit {node.id}")
        return _registry().Quantity(1, node.id)


def _measurable(value: Any) -> Any:
    """The quantity or number, if its number may be."""
    real(getattr(value, "magnitude", value))
    return value


def _is_quantity(value: Any) -> bool:
    return hasattr(value, "magnitude")


def _lifted(plain: Callable[..., Any], of_quantities: Any) -> Callable[..., Any]:
    """The operator for numbers, or for quantities where one is among the values."""

    def operate(*values: Any) -> Any:
        if any(_is_quantity(value) for value in values):
            return _measurable(of_quantities(*values))
        return plain(*values)

    return operate


def _power(base: Any, exponent: Any) -> Any:
    if _is_quantity(exponent) or abs(exponent) > MAX_UNIT_EXPONENT:
        raise ValueError(f"a unit's exponent must be a number up to {MAX_UNIT_EXPONENT}")
    return base**exponent


def _sqrt(value: Any) -> Any:
    return _measurable(value**0.5) if _is_quantity(value) else FUNCTIONS["sqrt"](value)


_OPERATORS = {
    kind: _lifted(OPERATORS[kind], of_quantities)
    for kind, of_quantities in {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: _power,
        ast.UAdd: operator.pos,
        ast.USub: operator.neg,
    }.items()
}
