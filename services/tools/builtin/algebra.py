"""From text to sympy and back, without ever evaluating text.

sympy's own parser hands text to `eval`. Here Python's syntax tree is walked,
and each node that algebra needs is built with sympy; there is no other node.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from services.tools.builtin.expression import MAX_BITS, rounded, spelled
from services.tools.errors import ExpressionInvalid, quoted

TOOL = "symbolic"
MAX_ALGEBRA_CHARACTERS = 500
MAX_NODES = 200
MAX_EXPONENT = 1000
MAX_FACTORIAL = 500
MAX_RESULT_CHARACTERS = 10_000
MAX_SOLUTIONS = 20
_MAX_SYMBOL_CHARACTERS = 32

_FUNCTIONS = {
    **{name: name for name in ("sqrt", "cbrt", "exp", "log", "factorial", "gamma", "erf")},
    **{name: name for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: name for name in ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh")},
    "ln": "log",
    "abs": "Abs",
    "Abs": "Abs",
    "sign": "sign",
}


class _Refused(Exception):
    """The expression holds what it may not; the message says what."""


@dataclass(frozen=True)
class Solved:
    """What was found, as text.

    Attributes:
        result: An expression; None where solutions were asked for.
        solutions: The solutions; None where an expression was asked for.
        value: The expression as a number, where it is a real one.
    """

    result: str | None = None
    solutions: list[str] | None = None
    value: float | None = None


def work_out(
    operation: str, text: str, *, variable: str, order: int, bounds: tuple[str, str] | None
) -> Solved:
    """Do algebra. Takes as long as it takes: the tool's time limit ends it.

    Args:
        operation: simplify, expand, factor, solve, differentiate or integrate.
        text: The expression, or for solve an equation.
        variable: The symbol it is about; empty where there is only one.
        order: How often to differentiate.
        bounds: Of a definite integral.

    Raises:
        ExpressionInvalid: The text is no such expression, or nothing is found.
    """
    import sympy

    with _telling():
        sides = [_parse(side) for side in _sides(text, operation)]
        expression = sides[0] if len(sides) == 1 else sides[0] - sides[1]
        if operation in ("simplify", "expand", "factor"):
            return _told(getattr(sympy, operation)(expression))
        symbol = _symbol(expression, variable)
        if operation == "solve":
            return _solve(expression, symbol)
        if operation == "differentiate":
            return _told(sympy.diff(expression, symbol, order))
        return _integrate(expression, symbol, bounds)


@contextmanager
def _telling() -> Iterator[None]:
    """Turns what goes wrong into a typed error."""
    try:
        yield
    except _Refused as error:
        raise ExpressionInvalid(f"The expression cannot be used: {error}.", TOOL) from None
    except SyntaxError:
        raise ExpressionInvalid("The expression is not valid; check brackets and operators.", TOOL) from None
    except (RecursionError, MemoryError):
        raise ExpressionInvalid("The expression is nested too deeply.", TOOL) from None
    except (ArithmeticError, ValueError, TypeError, NotImplementedError, AttributeError) as error:
        raise ExpressionInvalid(f"No answer was found: {quoted(str(error)).rstrip('.')}.", TOOL) from None


def _sides(text: str, operation: str) -> list[str]:
    sides = spelled(text).split("=")
    if len(sides) > 2 or (len(sides) == 2 and operation != "solve"):
        raise _Refused("only solve takes an equation, and that with one =")
    return sides


def _solve(expression: Any, symbol: Any) -> Solved:
    import sympy

    found = sympy.solve(expression, symbol)
    if len(found) > MAX_SOLUTIONS:
        raise _Refused(f"it has more than {MAX_SOLUTIONS} solutions")
    return Solved(solutions=[_text(solution) for solution in found])


def _integrate(expression: Any, symbol: Any, bounds: tuple[str, str] | None) -> Solved:
    import sympy

    over = (symbol, _parse(bounds[0]), _parse(bounds[1])) if bounds else symbol
    found = sympy.integrate(expression, over)
    if found.has(sympy.Integral):
        raise _Refused("no closed form of the integral was found")
    return _told(found)


def _told(expression: Any) -> Solved:
    value = None
    if not expression.free_symbols and expression.is_real and expression.is_finite:
        value = float(rounded(float(expression.evalf(15))))
    return Solved(result=_text(expression), value=value)


def _text(expression: Any) -> str:
    text = str(expression)
    if len(text) > MAX_RESULT_CHARACTERS:
        raise _Refused(f"the result has more than {MAX_RESULT_CHARACTERS} characters")
    return text


def _symbol(expression: Any, name: str) -> Any:
    import sympy

    if name:
        return sympy.Symbol(name)
    symbols = sorted(expression.free_symbols, key=str)
    if len(symbols) != 1:
        known = ", ".join(str(symbol) for symbol in symbols[:5]) or "none"
        raise _Refused(f"say which variable is meant; there is {known}")
    return symbols[0]


def _parse(text: str) -> Any:
    """The expression of this text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        tree = ast.parse(text.strip(), mode="eval").body
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise _Refused(f"it has more than {MAX_NODES} parts")
    return _build(tree)


def _build(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _number(value)
        case ast.Name(id=name):
            return _named(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _bounded(_OPERATORS[type(operator)](_build(left), _build(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _call(name, [_build(argument) for argument in arguments])
    raise _Refused("only numbers, symbols, + - * / ** ( ) and functions such as sqrt can be used")


def _number(value: int | float) -> Any:
    import sympy

    if isinstance(value, float):
        return sympy.Rational(str(value)) if value == value and abs(value) < 1e15 else sympy.Float(value)
    return _bounded(sympy.Integer(value))


def _named(name: str) -> Any:
    import sympy

    known = {"pi": sympy.pi, "E": sympy.E, "e": sympy.E, "I": sympy.I, "i": sympy.I, "oo": sympy.oo}
    if len(name) > _MAX_SYMBOL_CHARACTERS or name.startswith("_"):
        raise _Refused(f"{quoted(name)} is no name of a symbol")
    return known.get(name) or sympy.Symbol(name)


def _power(base: Any, exponent: Any) -> Any:
    """A power that sympy cannot make huge by itself."""
    if exponent.is_number:
        size = abs(exponent)
        if size.is_extended_real is False or (not bool(size <= MAX_EXPONENT) and exponent.is_finite):
            raise _Refused(f"an exponent is larger than {MAX_EXPONENT}")
        if base.is_Rational and exponent.is_Rational:
            bits = max(int(base.p).bit_length(), int(base.q).bit_length())
            if bits * abs(float(exponent)) > MAX_BITS:
                raise _Refused("a number in it becomes too large")
    return base**exponent


def _bounded(value: Any) -> Any:
    """The value, unless it is a number too large to go on with."""
    if value.is_Rational and max(int(value.p).bit_length(), int(value.q).bit_length()) > MAX_BITS:
        raise _Refused("a number in it becomes too large")
    return value


def _call(name: str, arguments: list[Any]) -> Any:
    import sympy

    if name in ("factorial", "gamma") and any(
        argument.is_number and not bool(abs(argument) <= MAX_FACTORIAL) for argument in arguments
    ):
        raise _Refused(f"{name} takes numbers up to {MAX_FACTORIAL}")
    return getattr(sympy, _FUNCTIONS[name])(*arguments)


_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.Pow: _power,
}
