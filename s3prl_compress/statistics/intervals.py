"""Intervals of accuracies, which never leave the range of 0 to 100 %."""

from __future__ import annotations

import math

from .crossed import Estimate

_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(
    percent: float, count: float, quantile: float = _NORMAL_95
) -> tuple[float, float]:
    """Return the interval of an accuracy over `count` independent utterances, in percent.

    Wilson's score interval (Wilson 1927), of 95 % by default. Unlike the binomial error it has a
    width at 0 and 100 %, and it never leaves that range.

    Args:
        percent: the accuracy.
        count: number of independent utterances; need not be whole.
        quantile: of the normal or t distribution, for the two-sided interval.
    """
    share, squared = percent / 100.0, quantile**2
    middle = share + squared / (2 * count)
    half = quantile * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    whole = 1 + squared / count
    low = 100.0 * max(0.0, (middle - half) / whole)
    high = 100.0 * min(1.0, (middle + half) / whole)
    return min(low, percent), max(high, percent)


def accuracy_interval(estimate: Estimate, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of an accuracy whose error is not the binomial's, in percent.

    Wilson's interval over the number of independent utterances that would have the same standard
    error (Korn & Graubard 1998), with the estimate's quantile of t.

    Args:
        estimate: an accuracy with its standard error.
        count: number of predictions of all seeds, an upper bound on that of independent ones.
        level: confidence level of the interval.
    """
    percent = min(max(estimate.value, 0.0), 100.0)  # a sum may be off by rounding
    share, variance = percent / 100.0, (estimate.standard_error / 100.0) ** 2
    binomial = share * (1.0 - share)
    effective = min(binomial / variance, count) if binomial > 0 and variance > 0 else count
    return wilson_interval(percent, effective, estimate.quantile(level))
