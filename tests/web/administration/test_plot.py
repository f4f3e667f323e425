from __future__ import annotations

import pytest

from parley.auth.v1.usage_service_pb2 import UsageSum
from web.administration.plot import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, nice_top, plot
from web.administration.usage_figures import OTHERS, days_until, plots, rows, short

DAYS = ["2026-11-22", "2026-11-23"]


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (-5, 1), (1, 1), (1.2, 2), (11, 20), (21, 25), (26, 50), (999, 1000), (0.03, 0.05)],
)
def test_an_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


def test_columns_stand_beside_each_other_and_bars_upon_each_other() -> None:
    drawn = plot("Tokens", DAYS, {"a": [60, 0], "b": [40, 50]}, str)
    first, second = drawn.columns
    assert (first.x, second.x) == (LEFT, LEFT + (WIDTH - LEFT) / 2)
    lower, upper = first.bars
    assert lower.y + lower.height == pytest.approx(HEIGHT - BOTTOM)
    assert upper.y + upper.height == pytest.approx(lower.y)
    assert upper.y == pytest.approx(TOP)
    assert [bar.colour for bar in second.bars] == [1]
    assert drawn.legend == ("a", "b")
    assert drawn.total == "150"


def test_a_column_says_its_day_its_sum_and_its_parts() -> None:
    drawn = plot("Tokens", DAYS, {"a": [60, 0], "b": [40, 0]}, str)
    assert [column.words for column in drawn.columns] == ["2026-11-22: 100 (a 60, b 40)", "2026-11-23: 0"]


def test_nothing_is_drawn_for_nothing() -> None:
    drawn = plot("Tokens", DAYS, {}, str)
    assert not any(column.bars for column in drawn.columns)
    assert drawn.legend == ()


def usage(name: str, tokens: int, day: str = DAYS[1]) -> UsageSum:
    return UsageSum(day=day, model=name, prompt_tokens=tokens, requests=1, cost_micros=5)


def test_a_name_has_one_colour_in_all_plots() -> None:
    sums = [usage("small", 1), *[usage("small", 0) for _ in range(9)], usage("large", 100)]
    drawn = plots(sums, DAYS, lambda sum_: sum_.model)
    assert [each.title for each in drawn] == ["Tokens", "Requests", "Cost"]
    assert {each.legend for each in drawn} == {("large", "small")}


def test_the_smallest_go_together() -> None:
    sums = [usage(f"m{number}", 100 - number) for number in range(8)]
    tokens = plots(sums, DAYS, lambda sum_: sum_.model)[0]
    assert tokens.legend == ("m0", "m1", "m2", "m3", "m4", OTHERS)
    assert f"{OTHERS} {95 + 94 + 93}" in tokens.columns[1].words


def test_a_day_that_was_not_asked_for_is_left_out() -> None:
    (column, _) = plots([usage("a", 5, "2020-01-01")], DAYS, lambda sum_: sum_.model)[0].columns
    assert column.bars == ()


def test_rows_add_up_and_the_largest_stands_first() -> None:
    first, second = rows([usage("a", 1), usage("b", 5), usage("a", 2)], lambda sum_: sum_.model)
    assert (first.name, first.prompt_tokens) == ("b", 5)
    assert (second.name, second.prompt_tokens, second.requests, second.cost_micros) == ("a", 3, 2, 10)


def test_days_lead_up_to_the_last() -> None:
    from datetime import date

    assert days_until(date(2026, 3, 1), 3) == ["2026-02-27", "2026-02-28", "2026-03-01"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.5, "0.5"), (1204, "1,204"), (48_200, "48.2 k"), (3_100_000, "3.1 M"), (5e9, "5 G")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert short(number) == text
