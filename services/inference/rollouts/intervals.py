"""Confidence intervals of shares, means, and of what lies between two of them.

All are of 95 %, for one look: who looks again and again, and stops when it pleases, is wrong more often.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from services.inference.rollouts.tally import Moments

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
# Of fewer the spread is not known well enough, nor Student's quantile below.
MIN_MEASURED = 5


class Interval(NamedTuple):
    """From where to where."""

    low: float
    high: float


def wilson(part: int, whole: int) -> Interval | None:
    """Where a share lies (E. B. Wilson, 1927); None where nothing was counted."""
    if not whole:
        return None
    share, square = part / whole, Z * Z
    middle = share + square / (2 * whole)
    reach = Z * math.sqrt(share * (1 - share) / whole + square / (4 * whole * whole))
    scale = 1 + square / whole
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def newcombe(part: int, whole: int, other_part: int, other_whole: int) -> Interval | None:
    """Where a share less another one lies (R. G. Newcombe, 1998, method 10)."""
    one, other = wilson(part, whole), wilson(other_part, other_whole)
    if one is None or other is None:
        return None
    share, other_share = part / whole, other_part / other_whole
    difference = share - other_share
    down = math.hypot(share - one.low, other.high - other_share)
    up = math.hypot(one.high - share, other_share - other.low)
    return Interval(difference - down, difference + up)


def student(one: Moments) -> Interval | None:
    """Where a mean lies; None where too little was measured."""
    if one.count < MIN_MEASURED:
        return None
    reach = _quantile(one.count - 1) * math.sqrt(one.variance / one.count)
    return Interval(one.mean - reach, one.mean + reach)


def welch(one: Moments, other: Moments) -> Interval | None:
    """Where a mean less another one lies, whose spreads differ (B. L. Welch, 1947)."""
    if min(one.count, other.count) < MIN_MEASURED:
        return None
    errors = [each.variance / each.count for each in (one, other)]
    difference, error = one.mean - other.mean, sum(errors)
    if not error:
        return Interval(difference, difference)
    freedom = error**2 / sum(each**2 / (of.count - 1) for each, of in zip(errors, (one, other), strict=True))
    reach = _quantile(freedom) * math.sqrt(error)
    return Interval(difference - reach, difference + reach)


def ranks(quantile: float, count: float) -> Interval:
    """Between which quantiles of a sample the true one lies (binomial, by the normal distribution)."""
    reach = Z * math.sqrt(quantile * (1 - quantile) / count)
    return Interval(max(0.0, quantile - reach), min(1.0, quantile + reach))


def _quantile(freedom: float) -> float:
    """Student's quantile (Abramowitz and Stegun, 26.7.5): within 1 % from 3 degrees of freedom on."""
    z = Z
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
