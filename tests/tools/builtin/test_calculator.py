"""The calculator's other numbers: complex ones, and those with units."""

from __future__ import annotations

import pytest

from services.tools.builtin.math import calculator
from services.tools.builtin.math_operation import _STEPS, math_operation
from services.tools.errors import ExpressionInvalid, InvalidArguments
from tests.tools.builtin.conftest import Use


@pytest.mark.parametrize(
    ("expression", "real", "imaginary"),
    [
        ("(1 + 2i) * 3i", -6, 3),
        ("(1+2j)/(1-2j)", -0.6, 0.8),
        ("sqrt(-4)", 0, 2),
        ("(-8)**(1/3)", 1, 1.73205080757),
        ("exp(i*pi)", -1, 0),
        ("log(-1)", 0, 3.14159265359),
        ("abs(3 + 4i)", 5, 0),
        ("conj(1+2i) + re(3i) + im(3i)", 4, -2),
        ("phase(1i)", 1.57079632679, 0),
        ("polar(2, pi/2)", 0, 2),
        ("2**10", 1024, 0),
        ("7 // 2 - 1i", 3, -1),
    ],
)
def test_complex_numbers(use: Use, expression: str, real: float, imaginary: float) -> None:
    assert use(calculator, expression=expression, numbers="complex") == {
        "expression": expression,
        "result": real,
        "imaginary": imaginary,
    }


@pytest.mark.parametrize(
    "expression",
    ["1/0", "9**9**9", "(1+1i)**99999", "5 % 2i", "1i < 2", "foo(1i)", "x", "(1i).real", "1e308i*10"],
)
def test_what_complex_numbers_cannot_do_is_refused(use: Use, expression: str) -> None:
    with pytest.raises(ExpressionInvalid):
        use(calculator, expression=expression, numbers="complex")


@pytest.mark.parametrize(
    ("expression", "unit", "result", "told"),
    [
        ("3 km + 200 m", "", 3.2, "km"),
        ("60 mi/h", "km/h", 96.56064, "km / h"),
        ("5 ft", "cm", 152.4, "cm"),
        ("20 degC", "degF", 68, "°F"),
        ("2 N * 3 m", "J", 6, "J"),
        ("100 m / 9.58 s", "m/s", 10.4384133612, "m / s"),
        ("sqrt(16 m**2)", "", 4, "m"),
        ("abs(-3 kg)", "g", 3000, "g"),
        ("3e5 m", "km", 300, "km"),
        ("1 h", "min", 60, "min"),
        ("3 + 4", "", 7, ""),
        ("10 m % 3 m", "", 1, "m"),
        ("7 m // 2 m", "", 3, ""),
        ("2 sqrt(4)", "", None, ""),
        ("-3 m + +1 m", "", -2, "m"),
    ],
)
def test_units(use: Use, expression: str, unit: str, result: float | None, told: str) -> None:
    if result is None:
        with pytest.raises(ExpressionInvalid):
            use(calculator, expression=expression, numbers="units")
        return
    assert use(calculator, expression=expression, numbers="units", unit=unit) == {
        "expression": expression,
        "result": result,
        "unit": told,
    }


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("3 km + 2 kg", ""),
        ("3 km", "kg"),
        ("1 foo", ""),
        ("1 m", "foo"),
        ("9**9**9 m", ""),
        ("m**1000", ""),
        ("2**(3 m)", ""),
        ("1 m", "__class__"),
        ("1 m", "m.magnitude"),
        ("(1e300 m)**3", ""),
        ("10**1000 m * 10**1000", ""),
        ("sin(1 m)", ""),
        ("20 degC * 2 degC", "__dict__"),
    ],
)
def test_units_that_do_not_fit_are_refused(use: Use, expression: str, unit: str) -> None:
    with pytest.raises(ExpressionInvalid):
        use(calculator, expression=expression, numbers="units", unit=unit)


def test_a_unit_needs_units(use: Use) -> None:
    with pytest.raises(InvalidArguments, match="needs numbers to be units"):
        use(calculator, expression="1", unit="km")


@pytest.mark.parametrize(
    ("operation", "values", "result"),
    [
        ("add", [1, 2, 3.5], 6.5),
        ("subtract", [10, 2, 3], 5),
        ("multiply", [2, 3, 4], 24),
        ("divide", [7, 2], 3.5),
        ("floor_divide", [7, 2], 3),
        ("modulo", [7, 3], 1),
        ("power", [2, 100], 2**100),
        ("sqrt", [9], 3),
        ("cbrt", [27], 3),
        ("log", [8, 2], 3),
        ("exp", [0], 1),
        ("absolute", [-2], 2),
        ("negate", [2], -2),
        ("reciprocal", [4], 0.25),
        ("round", [2.567, 1], 2.6),
        ("floor", [2.5], 2),
        ("ceil", [2.5], 3),
        ("factorial", [5], 120),
        ("gcd", [84, 36, 60], 12),
        ("lcm", [4, 6, 10], 60),
        ("sin", [0], 0),
        ("cos", [0], 1),
        ("tan", [0], 0),
        ("hypotenuse", [3, 4], 5),
    ],
)
def test_operations(use: Use, operation: str, values: list[float], result: float) -> None:
    assert use(math_operation, operation=operation, values=values) == {
        "operation": operation,
        "result": result,
    }


def test_there_are_24_operations() -> None:
    assert len(_STEPS) == 24


@pytest.mark.parametrize(
    ("operation", "values"),
    [
        ("divide", [1, 0]),
        ("power", [9, 9**9]),
        ("sqrt", [-1]),
        ("factorial", [10**6]),
        ("factorial", [-1]),
        ("gcd", [1.5, 2]),
        ("exp", [1e4]),
        ("multiply", [2**4000, 2**4000]),
        ("lcm", [2**4000 - 1, 2**4000 - 3]),
        ("round", [1, 10**6]),
    ],
)
def test_operations_without_a_value_say_so(use: Use, operation: str, values: list[float]) -> None:
    with pytest.raises(ExpressionInvalid) as caught:
        use(math_operation, operation=operation, values=values)
    assert caught.value.metadata == {"tool": "math_operation"}


@pytest.mark.parametrize(
    ("operation", "values"), [("add", [1]), ("sqrt", [1, 2]), ("nope", [1]), ("add", [])]
)
def test_operations_take_the_right_number_of_values(use: Use, operation: str, values: list[float]) -> None:
    with pytest.raises(InvalidArguments):
        use(math_operation, operation=operation, values=values)
