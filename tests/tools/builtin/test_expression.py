from __future__ import annotations

import ast
import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tools.builtin.expression import MAX_BITS, MAX_EXPRESSION_CHARACTERS, evaluate, rounded
from services.tools.errors import ExpressionInvalid


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 * 23", 391),
        ("2 ** 10", 1024),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("7 / 2", 3.5),
        ("84 / 4", 21.0),
        ("0.1 + 0.2", 0.3),
        ("(1 + 2) * -3", -9),
        ("sqrt(16)", 4.0),
        ("2 × 3 ÷ 4 − 1", 0.5),  # noqa: RUF001 - as people type it
        ("factorial(20)", math.factorial(20)),
        ("factorial(100) // factorial(98)", 9900),
        ("round(2.567, 2)", 2.57),
        ("round(2.5)", 2),
        ("min(3, 1, 2) + max(3, 1, 2)", 4),
        ("sum(1, 2, 3)", 6),
        ("ln(e) + log10(100)", 3.0),
        ("cos(π)", -1.0),
        ("hypot(3, 4)", 5.0),
        ("gcd(12, 18)", 6),
        ("9007199254740993 + 0", 9007199254740993),
        ("1e3", 1000.0),
        ("(-1) ** 1000000001", -1),
        ("1 ** 10 ** 9", 1),
        ("2 ** -1", 0.5),
        ("0xff", 255),
    ],
)
def test_arithmetic_is_evaluated(expression: str, value: float) -> None:
    result = evaluate(expression)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("", "not valid arithmetic"),
        ("1 +", "not valid arithmetic"),
        ("1; 2", "not valid arithmetic"),
        ("x = 1", "not valid arithmetic"),
        ("import os", "not valid arithmetic"),
        ("1 / 0", "divides by zero"),
        ("1 % 0", "divides by zero"),
        ("0 ** -1", "divides by zero"),
        ("9 ** 9 ** 9", "too large"),
        ("9 ** 9 ** 9 ** 9", "too large"),
        ("2 ** 5000", "too large"),
        ("(2 ** 4000) * (2 ** 4000)", "too large"),
        ("factorial(100000)", "too large"),
        ("factorial(1000)", "too large"),
        ("comb(10**9, 5)", "too large"),
        ("1e308 * 10", "too large"),
        ("10.0 ** 400", "too large"),
        ("1e999", "too large"),
        ("round(1, 10 ** 9)", "too large"),
        ("2 ^ 3", "for powers"),
        ("1 << 2", "for powers"),
        ("1 @ 2", "for powers"),
        ("~1", "for powers"),
        ("foo(1)", "no function foo"),
        ("eval('1')", "no real number"),
        ("exec(1)", "no function exec"),
        ("open(1)", "no function open"),
        ("__import__(1)", "no function __import__"),
        ("x", "the name x is unknown"),
        ("sqrt", "the name sqrt is unknown"),
        ("__builtins__", "unknown"),
        ("'a' * 9", "no real number"),
        ("b'a'", "no real number"),
        ("1j", "no real number"),
        ("(-8) ** 0.5", "no real number"),
        ("sqrt(-1)", "cannot be evaluated"),
        ("True + 1", "no real number"),
        ("None", "no real number"),
        ("...", "no real number"),
        ("[1]", "Only numbers"),
        ("[1] * 10 ** 9", "Only numbers"),
        ("{1: 2}", "Only numbers"),
        ("(1, 2)", "Only numbers"),
        ("1,234 * 5", "Only numbers"),
        ("(1).real", "Only numbers"),
        ("(1).__class__", "Only numbers"),
        ("1 if 1 else 2", "Only numbers"),
        ("1 < 2", "Only numbers"),
        ("1 and 2", "Only numbers"),
        ("lambda: 1", "Only numbers"),
        ("(x := 1)", "Only numbers"),
        ("[x for x in (1,)]", "Only numbers"),
        ("f'{1}'", "Only numbers"),
        ("(1)(2)", "only functions"),
        ("pi.__class__(2)", "only functions"),
        ("round(1, ndigits=2)", "only functions"),
        ("max(*[1])", "Only numbers"),
        ("sqrt()", "cannot be evaluated"),
        ("min(1)", "cannot be evaluated"),
        ("factorial(2.5)", "cannot be evaluated"),
        ("1\0", "NUL"),
        ("-" * 900 + "1", "nested too deeply"),
        ("(" * 400 + "1" + ")" * 400, "not valid arithmetic"),
        ("1" * 1000 + "0" * 500, "too large"),
        ("0777", "not valid arithmetic"),
        ("1_000__0", "not valid arithmetic"),
    ],
)
def test_anything_else_is_refused_with_a_reason(expression: str, told: str) -> None:
    with pytest.raises(ExpressionInvalid) as caught:
        evaluate(expression)
    assert told in caught.value.message
    assert "0x" not in caught.value.message
    assert len(caught.value.message) < 250


def test_a_float_keeps_twelve_digits_and_an_int_all() -> None:
    assert rounded(1 / 3) == 0.333333333333
    assert rounded(10**50 + 1) == 10**50 + 1
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(OverflowError):
            rounded(value)


numbers = st.integers(0, 10**12).map(str) | st.floats(0, 1e12, allow_nan=False).map(repr)
expressions = st.recursive(
    numbers,
    lambda inner: (
        st.builds(
            lambda left, sign, right: f"({left} {sign} {right})",
            inner,
            st.sampled_from(["+", "-", "*", "/", "//", "%"]),
            inner,
        )
        | inner.map(lambda text: f"-({text})")
    ),
    max_leaves=12,
)

_PYTHON = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def python_value(node: ast.expr) -> float:
    """What Python's own operators make of the tree."""
    if isinstance(node, ast.BinOp):
        return _PYTHON[type(node.op)](python_value(node.left), python_value(node.right))
    if isinstance(node, ast.UnaryOp):
        return -python_value(node.operand)
    assert isinstance(node, ast.Constant)
    return node.value


@given(expressions)
def test_arithmetic_is_python_s(expression: str) -> None:
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        return
    try:
        expected = python_value(ast.parse(expression, mode="eval").body)
    except (ZeroDivisionError, OverflowError):
        expected = math.inf
    if not math.isfinite(expected):
        with pytest.raises(ExpressionInvalid):
            evaluate(expression)
        return
    value = evaluate(expression)
    assert type(value) is type(expected)
    assert value == rounded(expected)


@given(st.integers(-50, 50), st.integers(-5000, 5000))
def test_powers_are_python_s_or_refused(base: int, exponent: int) -> None:
    try:
        value = evaluate(f"({base}) ** ({exponent})")
    except ExpressionInvalid:
        too_large = exponent > 0 and (base**exponent).bit_length() > MAX_BITS
        undefined = base == 0 and exponent < 0
        too_fine = exponent < 0 and abs(exponent) * abs(base).bit_length() > 1000
        assert too_large or undefined or too_fine
    else:
        assert value == rounded(base**exponent)


@given(st.text(max_size=60) | st.text(alphabet="0123456789+-*/%() .eE,sqrtpi", max_size=60))
def test_any_text_has_a_value_or_a_reason(text: str) -> None:
    try:
        value = evaluate(text)
    except ExpressionInvalid:
        value = 0
    assert isinstance(value, int | float)
    assert math.isfinite(value)
