"""The few statistics that a measured speed needs: median, spread, and a paired ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

NOISY = 0.10
"""Interquartile range over median above which a measurement is called noisy."""


@dataclass(frozen=True)
class PairedRatio:
    """How much faster one thing is than another, from times that were taken in pairs."""

    ratio: float
    """Median over the pairs of (the other's time / this one's time)."""
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
    """Tell whether the spread is too wide for a single figure (`torch.utils.benchmark`'s rule)."""
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
    of a pair (another process, a lower clock) cancels. The generator is fixed: the same times
    always give the same interval. Raises `ValueError` for sequences of unequal length or times
    that are not above zero.
    """
    if len(this) != len(against):
        raise ValueError(f"pairs need equal lengths, got {len(this)} and {len(against)}")
    ratios = _checked(against) / _checked(this)
    generator = numpy.random.default_rng(seed)
    picks = generator.integers(len(ratios), size=(resamples, len(ratios)))
    medians = numpy.median(ratios[picks], axis=1)
    tail = (1 - confidence) / 2
    low, high = numpy.quantile(medians, [tail, 1 - tail])
    return PairedRatio(float(numpy.median(ratios)), (float(low), float(high)))


def _checked(values: Sequence[float]) -> numpy.ndarray:
    array = numpy.asarray(values, dtype=float)
    if array.ndim != 1 or not len(array):
        raise ValueError("at least one time is needed")
    if not (array > 0).all():
        raise ValueError("times must be above zero")
    return array
