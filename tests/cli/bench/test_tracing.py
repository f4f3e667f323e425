"""`parley bench tracing` compares round by round."""

from __future__ import annotations

import pytest

from cli.bench.tracing import COST_TARGET, figures_of


def test_the_cost_is_the_median_of_what_each_round_lost() -> None:
    """A machine that is slower in one round is so for both sides."""
    plain, traced, cost = figures_of(16, 0.5, [100.0, 50.0, 200.0], [98.0, 49.5, 180.0])
    assert (plain.value, plain.name) == (100.0, "16 streams without traces")
    assert (traced.value, traced.name) == (98.0, "16 streams, 50% of them traced")
    assert cost.value == pytest.approx(2.0)
    assert (cost.unit, cost.target) == ("%", COST_TARGET)


def test_rounds_that_do_not_pair_are_no_comparison() -> None:
    with pytest.raises(ValueError, match="zip"):
        figures_of(16, 1.0, [100.0], [99.0, 98.0])
