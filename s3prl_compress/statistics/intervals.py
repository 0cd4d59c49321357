"""Intervals of accuracies, which never leave the range of 0 to 100 %."""

from __future__ import annotations

import sys

from .crossed import Estimate

_ROUNDING = 1e-6
"""Percent: a sum over utterances may be off by less; an utterance counts for more."""


def wilson_interval(percent: float, count: float, alpha: float = 0.05) -> tuple[float, float]:
    """Return the interval of an accuracy over `count` independent utterances, in percent.

    Wilson's score interval (Wilson 1927). Unlike the binomial error it has a width at 0 and 100 %,
    and it never leaves that range.

    Args:
        percent: the accuracy.
        count: number of independent utterances; need not be whole.
        alpha: 1 minus the confidence level.
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(percent / 100.0 * count, count, alpha, method="wilson")
    return min(100.0 * low, percent), max(100.0 * high, percent)


def accuracy_interval(estimate: Estimate, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the two-sided interval of an accuracy whose error is not the binomial's, in percent.

    Wilson's interval over the number of independent utterances that would have the same standard
    error (Korn & Graubard 1998), with the estimate's quantile of t. Where all predictions are
    right, or all wrong, there is no such error: further seeds that agree say nothing about other
    utterances, so the interval is that of one seed.

    Args:
        estimate: an accuracy with its standard error.
        count: number of predictions of all seeds, an upper bound on that of independent ones.
        level: confidence level of the interval.
    """
    from scipy.stats import norm, t

    percent = min(max(estimate.value, 0.0), 100.0)
    components = estimate.components
    tail = (1.0 - level) / 2.0
    if min(percent, 100.0 - percent) < _ROUNDING:
        percent = float(round(percent))
        effective = count / (components.seed_df + 1.0)
        quantile = float(t.isf(tail, components.unit_df))
    else:
        share, variance = percent / 100.0, (estimate.standard_error / 100.0) ** 2
        effective = min(share * (1.0 - share) / variance, count) if variance > 0 else count
        quantile = estimate.quantile(level)
    # The level at which the normal distribution has that quantile; 0 would be no level.
    alpha = max(2.0 * float(norm.sf(quantile)), sys.float_info.min)
    return wilson_interval(percent, effective, alpha)
