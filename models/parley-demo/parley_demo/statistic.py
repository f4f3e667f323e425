"""Statistics questions: a list of numbers and one or two figures asked of it."""

import json
import statistics
from collections.abc import Callable, Sequence

from parley_demo.arithmetic import full_stop, shown
from parley_demo.dialogue import Call, Request, compact, thought_of
from parley_demo.invented import Stock

# Each operation of the tool with the words that ask for it; they are arguments, not phrasing.
NAMES: dict[str, tuple[str, ...]] = {
    "mean": ("mean", "average", "mean", "average", "arithmetic mean", "mean value"),
    "median": ("median", "median", "median value", "middle value"),
    "mode": ("mode", "most common value", "most frequent value"),
    "std": ("standard deviation", "std", "standard deviation"),
    "variance": ("variance",),
    "min": ("minimum", "smallest", "lowest", "min", "smallest number", "lowest value"),
    "max": ("maximum", "largest", "highest", "max", "biggest", "largest number", "highest value"),
    "sum": ("sum", "total"),
    "count": ("count",),
    "range": ("range",),
}
_SHOWN = {"std": "standard deviation", "min": "minimum", "max": "maximum"}

_COMPUTE: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.mean,
    "median": statistics.median,
    "mode": statistics.mode,
    "std": statistics.stdev,
    "variance": statistics.variance,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "range": lambda data: max(data) - min(data),
}


def _figure(operation: str, data: Sequence[float]) -> float:
    value = _COMPUTE[operation](data)
    return round(value, 10) if isinstance(value, float) and operation != "mean" else value


def _numbers(stock: Stock) -> list[str]:
    rng = stock.rng
    digits, decimals = rng.choice((1, 1, 2, 2, 2, 2, 3)), rng.random() < 0.1
    count = rng.choice((3, 3, 3, 4, 4, 4, 5, 5, 6))
    numbers = [str(stock.whole(digits)) for _ in range(count)]
    if not stock.held_out and rng.random() < 0.15:
        # Numbers that resemble each other are the hardest to copy in order.
        lowest = rng.choice((1, 11, 22, 40, 99, 101, 250, 888, 1000))
        numbers = [str(lowest + rng.randrange(8)) for _ in range(count)]
    if decimals:
        numbers = [f"{number}.{rng.randint(1, 9)}" for number in numbers]
    if rng.random() < 0.04:
        numbers = [rng.choice(("", "-")) + number for number in numbers]
    return numbers


def _typed(stock: Stock, numbers: list[str]) -> str:
    shape = stock.rng.randrange(9)
    if shape < 4:
        return f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    if shape == 4:
        return f"{', '.join(numbers[:-1])}, and {numbers[-1]}"
    if shape == 5:
        return f"[{', '.join(numbers)}]"
    return (", ", ",", " ")[shape - 6].join(numbers)


def request(
    kind: str, wording: str, gaps: dict[str, str], data: list[float], operations: list[str]
) -> Request:
    """A request for figures of `data`."""
    # The tool gives its figures in an order of its own, whatever the order asked for.
    figures = {operation: _figure(operation, data) for operation in NAMES if operation in operations}
    call = Call("statistics", {"data": data, "operations": operations}, compact(figures))
    said = [f"the {_SHOWN.get(name, name)} is {shown(value)}" for name, value in figures.items()]
    answer = " and ".join(said)
    return Request(
        kind, wording, gaps, full_stop(f"{answer[0].upper()}{answer[1:]}"), (call,), thought_of((call,))
    )


def figures(stock: Stock, wording: str) -> Request:
    """A question for as many figures as the wording has gaps: `op`, and perhaps `op2`."""
    numbers = _numbers(stock)
    operations = stock.rng.sample(sorted(NAMES), 2 if "{op2}" in wording else 1)
    gaps = {"data": _typed(stock, numbers)}
    gaps |= {gap: stock.rng.choice(NAMES[name]) for gap, name in zip(("op", "op2"), operations, strict=False)}
    return request("statistics", wording, gaps, json.loads(f"[{','.join(numbers)}]"), operations)


def follow_up(stock: Stock, before: Request, wording: str) -> Request | None:
    """Another figure of the same numbers; None where the turn before was about something else."""
    if not before.calls or before.calls[0].name != "statistics":
        return None
    arguments = before.calls[0].arguments
    operation = stock.rng.choice([name for name in sorted(NAMES) if name not in arguments["operations"]])
    gaps = {"op": stock.rng.choice(NAMES[operation])}
    return request("second turn", wording, gaps, arguments["data"], [operation])
