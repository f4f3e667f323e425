"""Arithmetic questions: an expression as symbols or in words, its value, and follow-ups on the result."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import Stock

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SPOKEN = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_TYPED = {"*": ("*", "*", "*", "x", "\u00d7"), "/": ("/", "/", "/", "÷"), "**": ("**", "^")}

# What a follow-up adds to the result before it: the symbol and the wording kind that asks for it.
FOLLOW_UPS = {"+": "add_to_that", "-": "take_from_that", "*": "times_that", "/": "divide_that"}


def _value(node: ast.expr) -> int | float:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))  # type: ignore[no-any-return]
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand)
    if isinstance(node, ast.Call):
        return math.sqrt(_value(node.args[0]))
    assert isinstance(node, ast.Constant)  # noqa: S101 - expressions are made here
    return node.value  # type: ignore[return-value]


def evaluate(expression: str) -> int | float:
    """The value as the calculator gives it: a float keeps at most 12 significant digits."""
    value = _value(ast.parse(expression, mode="eval").body)
    return float(f"{value:.12g}") if isinstance(value, float) else value


def shown(value: object) -> str:
    """A number as answers show it: beyond four decimals it is cut and marked with dots."""
    text = json_number(value)
    whole, dot, decimals = text.partition(".")
    return text if len(decimals) <= 4 or "e" in text else f"{whole}{dot}{decimals[:4]}..."


def full_stop(text: str) -> str:
    """The sentence ended, unless a number that was cut ends it already."""
    return text if text.endswith("...") else f"{text}."


def json_number(value: object) -> str:
    """A number as JSON writes it."""
    return compact(value)


def calculation(expression: str) -> Call | None:
    """The call for an expression, or None where its value is unfit for a dialogue."""
    try:
        value = evaluate(expression)
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    if isinstance(value, complex) or abs(value) >= 1e15 or "e" in str(value):
        return None
    return Call(
        "calculator", {"expression": expression}, compact({"expression": expression, "result": value})
    )


def calculated(kind: str, wording: str, gaps: dict[str, str], expression: str) -> Request | None:
    """A request for one sum, or None where the sum is unfit."""
    call = calculation(expression)
    if call is None:
        return None
    answer = full_stop(f"{expression} = {shown(evaluate(expression))}")
    return Request(kind, wording, gaps, answer, (call,), thought_of((call,)))


def _symbols(stock: Stock) -> tuple[str, str]:
    """An expression as typed with symbols, and as the calculator wants it."""
    rng = stock.rng
    terms = [stock.number(rng.choice((1, 2, 2, 2, 3, 3, 4))) for _ in range(rng.choice((2, 2, 2, 2, 2, 3)))]
    signs = [rng.choice("++--***//%") for _ in terms[1:]]
    if rng.random() < 0.08:
        terms, signs = [str(rng.randint(2, 12)), str(rng.randint(2, 9))], ["**"]
    if len(terms) > 2 and rng.random() < 0.6:
        at = rng.randrange(len(terms) - 1)
        terms[at], terms[at + 1] = "(" + terms[at], terms[at + 1] + ")"
    space = "" if rng.random() < 0.25 else " "
    typed, wanted = terms[0], terms[0]
    for sign, term in zip(signs, terms[1:], strict=True):
        mark = rng.choice(_TYPED.get(sign, (sign,)))
        typed += f"{space}{mark}{space}{term}"
        wanted += f"{space}{sign}{space}{term}"
    return typed, wanted


def typed_sum(stock: Stock, wording: str) -> Request | None:
    """A question whose expression is typed with symbols."""
    typed, wanted = _symbols(stock)
    return calculated("calculator", wording, {"sum": typed}, wanted)


def spoken_sum(stock: Stock, wording: str) -> Request | None:
    """A question whose operators are words: `12 times 7 plus 3`."""
    rng = stock.rng
    wanted = spoken = stock.number(rng.choice((1, 2, 3, 4)))
    for _ in range(rng.choice((1, 1, 1, 2))):
        sign, number = rng.choice("+-*/"), stock.number(rng.choice((1, 2, 3, 4)))
        wanted += f" {sign} {number}"
        spoken += f" {_SPOKEN[sign]} {number}"
    return calculated("calculator", wording, {"sum": spoken}, wanted)


def two_numbers(form: str) -> Callable[[Stock, str], Request | None]:
    """A maker of questions with two numbers in gaps `a` and `b`; `form` is the expression they ask for."""

    def make(stock: Stock, wording: str) -> Request | None:
        small = form == "{a} ** {b}"
        a = str(stock.rng.randint(2, 12)) if small else stock.number(stock.rng.choice((1, 2, 3, 4)))
        b = str(stock.rng.randint(2, 9)) if small else stock.number(stock.rng.choice((1, 2, 3, 4)))
        return calculated("calculator", wording, {"a": a, "b": b}, form.format(a=a, b=b))

    return make


def square_root(stock: Stock, wording: str) -> Request | None:
    """A square root, often of a square number."""
    root = stock.whole(2)
    number = str(root * root) if stock.chance(0.5) else stock.number(4)
    return calculated("calculator", wording, {"a": number}, f"sqrt({number})")


def follow_up(stock: Stock, before: Request, sign: str, wording: str) -> Request | None:
    """A sum that goes on from the result before it; None where that result was not shown in full."""
    result = before.answer.rpartition(" = ")[2]
    if not before.calls or before.calls[0].name != "calculator" or result.endswith("..."):
        return None
    number = stock.number(stock.rng.choice((1, 1, 2, 3)))
    return calculated("second turn", wording, {"a": number}, f"{result.removesuffix('.')} {sign} {number}")
