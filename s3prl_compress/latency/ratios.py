"""Statistics of measured times: median, interquartile range, and the ratio of paired times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

NOISY = 0.10
"""Ratio of interquartile range and median above which a measurement is called noisy."""


@dataclass(frozen=True)
class PairedRatio:
    """The speed-up of one side over another, from times measured in pairs."""

    ratio: float
    """Median over the pairs of (the other side's time / this side's time)."""
    interval: tuple[float, float]
    """Bootstrap interval of that median."""


def median(values: Sequence[float]) -> float:
    """Return the median; of an even number of values, the mean of the middle two."""
    return float(numpy.median(_checked(values)))


def interquartile_range(values: Sequence[float]) -> float:
    """Return the distance from the 25th to the 75th percentile (linear interpolation)."""
    low, high = numpy.quantile(_checked(values), [0.25, 0.75])
    return float(high - low)


def is_noisy(values: Sequence[float]) -> bool:
    """Return whether the spread is too large to report one number (as `torch.utils.benchmark`)."""
    return interquartile_range(values) > NOISY * median(values)


def paired_ratio(
    this: Sequence[float],
    against: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedRatio:
    """Return the median of `against / this` over the pairs, with its bootstrap interval.

    The percentile bootstrap (Efron, 1979) resamples whole pairs, so that what slows both members
    of a pair (another process, a lower clock) cancels. The same times always give the same
    interval, because the seed is fixed.

    Args:
        this: seconds of this side.
        against: seconds of the other side, in the same order.
        confidence: of the interval.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: the sequences are empty or differ in length, or a time is not positive.
    """
    from scipy.stats import bootstrap

    if len(this) != len(against):
        raise ValueError(f"pairs need equal lengths, got {len(this)} and {len(against)}")
    ratios = _checked(against) / _checked(this)
    if len(ratios) == 1:
        return PairedRatio(float(ratios[0]), (float(ratios[0]), float(ratios[0])))
    low, high = bootstrap(
        (ratios,),
        numpy.median,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=numpy.random.default_rng(seed),
    ).confidence_interval
    return PairedRatio(float(numpy.median(ratios)), (float(low), float(high)))


def _checked(values: Sequence[float]) -> numpy.ndarray:
    array = numpy.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array):
        raise ValueError("at least one time is needed")
    if not (array > 0).all():
        raise ValueError("times must be above zero")
    return array
