"""Non-inferiority: whether a value is shown to be below a limit, or above it.

Two one-sided tests of level 0.05. A value passes if its upper one-sided 95 % confidence bound is
below the limit, fails if its lower one is above it, and is not resolved otherwise (Piaggio et al.:
Reporting of noninferiority and equivalence randomized trials, JAMA 2012). Where several conditions
must hold and each is tested at this level, the probability that all of them pass wrongly is at most
5 % (intersection-union test, Berger 1982).
"""

from __future__ import annotations

import bisect
import math
from typing import Literal

import numpy

from .crossed import POWER, Estimate

Verdict = Literal["passed", "failed", "not resolved"]

ONE_SIDED = 0.05
"""Level of each of the two one-sided tests."""
TWO_SIDED = 1.0 - 2.0 * ONE_SIDED
"""Confidence of the two-sided interval whose ends are the one-sided bounds."""
MOST_SEEDS = 1000
"""A comparison that needs more seeds is reported as not resolvable by seeds."""
MOST_UNITS = 1000.0
"""The same for the size of the test set, relative to the present one."""

_SHARES = (numpy.arange(200) + 0.5) / 200


def judge(low: float, high: float, limit: float) -> Verdict:
    """Return whether a value between these one-sided bounds is shown to be below the limit."""
    if high < limit:
        return "passed"
    return "failed" if low > limit else "not resolved"


def overall(*verdicts: Verdict) -> Verdict:
    """Return the verdict on several conditions that must all hold."""
    order: tuple[Verdict, ...] = ("failed", "not resolved", "passed")
    return min(verdicts, key=order.index)


def seeds_needed(estimate: Estimate, limit: float) -> int | None:
    """Return how many seeds would resolve on which side of the limit the value is.

    This is for the same test set and a power of `POWER`, assuming that the value and the variances
    are as estimated. None if more than `MOST_SEEDS` are needed; if no number suffices, because the
    error over units alone is too large; and with one seed, which says nothing of the variance.
    """
    count = round(estimate.components.seed_df) + 1
    if count < 2:
        return None

    def resolved(seeds: int) -> bool:
        planned = estimate.planned(seeds=seeds / count)
        components = planned.components
        return (
            _power(planned, limit, components.seed, components.seed_df, components.unit_alone)
            >= POWER
        )

    numbers = range(count + 1, MOST_SEEDS + 1)
    place = bisect.bisect_left(numbers, True, key=resolved)
    return numbers[place] if place < len(numbers) else None


def units_needed(estimate: Estimate, limit: float) -> float | None:
    """Return how many times as many units would resolve on which side of the limit the value is.

    The seeds stay the same; otherwise as for `seeds_needed`. None if more than `MOST_UNITS` times
    as many are needed, or no number suffices.
    """

    def resolved(logarithm: float) -> bool:
        planned = estimate.planned(units=math.exp(logarithm))
        components = planned.components
        return (
            _power(planned, limit, components.unit, components.unit_df, components.seed_alone)
            >= POWER
        )

    steps = numpy.linspace(0.0, math.log(MOST_UNITS), 1001)
    place = bisect.bisect_left(steps, True, key=resolved)
    return math.exp(steps[place]) if place < len(steps) else None


def _power(planned: Estimate, limit: float, varying: float, freedom: float, fixed: float) -> float:
    """Return the probability of resolving on which side of the limit the value is.

    Args:
        planned: the estimate to expect.
        limit: what the value is compared with.
        varying: variance of what is drawn again in every repetition of the experiment.
        freedom: degrees of freedom with which that variance is estimated.
        fixed: variance of what is the same in every repetition but counts as error.
    """
    from scipy.stats import chi2, norm, t

    gap = abs(limit - planned.value)
    critical = float(t.isf(ONE_SIDED, planned.degrees_of_freedom))
    estimated = varying * chi2.ppf(_SHARES, freedom) / freedom
    spare = gap - critical * numpy.sqrt(estimated + fixed)
    if varying == 0:
        return float(spare[0] > 0)
    return float(norm.cdf(spare / math.sqrt(varying)).mean())
