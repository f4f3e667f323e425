"""Intervals against published values, and variants compared by them through a real store."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from parley.inference.v1 import rollout_pb2
from parley.inference.v1 import rollout_service_pb2 as pb2
from services.inference.rollouts.counts import Counts
from services.inference.rollouts.intervals import newcombe, student, welch, wilson
from services.inference.rollouts.library import RolloutLibrary
from services.inference.rollouts.samples import Sample
from services.inference.rollouts.tally import Moments, added, sums_of
from tests.inference.replicas import Replica
from tests.inference.rollouts.conftest import ALIAS, creation
from tests.inference.scripted import ScriptedEngine

# Student's quantiles of 95 %, by degrees of freedom.
STUDENT = {4: 2.776, 6: 2.447, 10: 2.228, 30: 2.042, 1000: 1.962}


def moments(*values: float) -> Moments:
    return Moments(len(values), sum(values), sum(value * value for value in values))


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 100, 0.0215, 0.1118), (10, 10, 0.7225, 1.0)],
    ids=["none", "some", "all"],
)
def test_wilsons_interval_of_a_share(part: int, whole: int, low: float, high: float) -> None:
    assert wilson(part, whole) == pytest.approx((low, high), abs=1e-4)


def test_newcombes_interval_of_two_shares() -> None:
    """The first example of his paper."""
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)


@pytest.mark.parametrize("freedom", STUDENT)
def test_students_interval_of_a_mean(freedom: int) -> None:
    count = freedom + 1
    # Of mean 0, and of variance 1 by construction.
    found = student(Moments(count, 0.0, float(freedom)))
    assert found is not None
    assert found.high * count**0.5 == pytest.approx(STUDENT[freedom], rel=0.01)


def test_welchs_interval_of_two_means() -> None:
    """Worked by hand: the error is 1.2247 (variances 2.5 and 5), of 7.2 degrees of freedom."""
    one, other = moments(1, 2, 3, 4, 5), Moments(5, 50.0, 520.0)
    found = welch(one, other)
    assert found is not None
    assert (found.low + found.high) / 2 == pytest.approx(-7.0)
    assert (found.high - found.low) / 2 == pytest.approx(2.352 * 1.2247, rel=0.01)


def test_of_too_little_nothing_is_said() -> None:
    few, many = moments(1, 2, 3, 4), moments(*range(100))
    assert wilson(0, 0) is newcombe(1, 2, 0, 0) is student(few) is welch(few, many) is None


def test_values_that_do_not_spread_differ_for_certain() -> None:
    assert welch(moments(*[2] * 5), moments(*[1] * 5)) == (1, 1)


async def test_variants_are_compared_with_the_stable_one(
    replica: Replica, library: RolloutLibrary, operator: Any, store: Redis
) -> None:
    def runs(count: int, failed: int, speed: float) -> dict[str, float]:
        return added(
            sums_of(Sample(number < failed, first_token_seconds=0.1, tokens_per_second=speed + number % 3))
            for number in range(count)
        )

    async with replica(ScriptedEngine(), rollouts=library) as process:
        begun = await process.rollouts.CreateRollout(creation(), metadata=operator)
        counted = {"plain": runs(200, 2, 50.0), "candidate": runs(200, 30, 60.0) | {"up": 1, "down": 1}}
        await Counts(store).add({begun.rollout.rollout_id: counted})
        request = pb2.CompareRolloutRequest(name=ALIAS, minutes=5)
        found = await process.rollouts.CompareRollout(request, metadata=operator)
    plain, candidate = found.variants
    assert (plain.variant_name, candidate.variant_name, candidate.runs) == ("plain", "candidate", 200)
    assert not any(each.HasField("difference") for each in plain.figures)
    figures = {rollout_pb2.VariantFigure.Name(each.figure): each for each in candidate.figures}
    assert set(figures) == {
        "VARIANT_FIGURE_ERROR_RATE",
        "VARIANT_FIGURE_FIRST_TOKEN_MEAN",
        "VARIANT_FIGURE_FIRST_TOKEN_P95",
        "VARIANT_FIGURE_TOKENS_PER_SECOND",
        "VARIANT_FIGURE_THUMBS_DOWN_RATE",
    }
    errors = figures["VARIANT_FIGURE_ERROR_RATE"]
    assert (errors.value, errors.samples) == (0.15, 200)
    assert errors.interval.low < 0.15 < errors.interval.high
    assert errors.difference.verdict == rollout_pb2.FIGURE_VERDICT_WORSE
    speed = figures["VARIANT_FIGURE_TOKENS_PER_SECOND"].difference
    assert (speed.value, speed.verdict) == (pytest.approx(10), rollout_pb2.FIGURE_VERDICT_BETTER)
    sooner = figures["VARIANT_FIGURE_FIRST_TOKEN_MEAN"].difference
    assert sooner.verdict == rollout_pb2.FIGURE_VERDICT_UNDECIDED
    assert [minute.runs for minute in candidate.minutes] == [200]
