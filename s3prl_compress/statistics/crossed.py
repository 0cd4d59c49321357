"""Errors over seeds and speakers at once: a crossed random-effects model.

A score is y[s, c] = mean + seed[s] + speaker[c] + rest[s, c], weighted by the speakers' shares of
the test set, and so is the difference of two upstreams. Its variance is estimated by the method of
moments of the two-way analysis of variance (Searle, Casella & McCulloch 1992, chapter 5), in the
balanced case (MS_seed + MS_speaker - MS_rest) / (seeds speakers), written here with the sandwich
sums of squares of two-way clustering (Cameron, Gelbach & Miller 2011), which allow for unequal
speakers and for variances that differ between them. Degrees of freedom are Satterthwaite's (1946).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy

from .outcomes import Floats, Outcomes
from .units import Units

POWER = 0.8
"""Share of repetitions in which the smallest detectable difference would be found."""


@dataclass(frozen=True)
class Parts:
    """Variances of one set of outcomes, each with its degrees of freedom."""

    seed: float
    """Variance over seeds, the units being fixed: what one seed's deviation contributes, including
    how it differs between units. 0 where there is one seed."""
    seed_freedom: float
    """Of several seeds, one less than their number; 0 where there is one."""
    unit: float
    """Variance over units, the seeds being fixed."""
    unit_freedom: float
    rest: float
    """The part that both of these contain; not reliable by itself with few units."""
    rest_freedom: float

    @property
    def between(self) -> float:
        """The variance of the units alone: what no number of seeds reduces."""
        return max(0.0, self.unit - self.rest)

    @property
    def common(self) -> float:
        """The variance of the seeds alone: what no number of units reduces."""
        return max(0.0, self.seed - self.rest)

    def scaled(self, seeds: float, units: float) -> Parts:
        """Return the parts to expect of so many times the seeds and so many times the units."""
        freedom = self.unit_freedom * units
        if self.seed_freedom == 0:
            return Parts(0.0, 0.0, self.unit / units, freedom, 0.0, 0.0)
        rest = self.rest / (seeds * units)
        own = (self.seed - self.common) / units  # the rest, or less where it was estimated larger
        more = seeds * (self.seed_freedom + 1) - 1
        unit = self.between / units + rest
        return Parts((self.common + own) / seeds, more, unit, freedom, rest, more * freedom)


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, with its error."""

    value: float
    """In points."""
    standard_error: float
    """In points."""
    degrees_of_freedom: float
    parts: Parts
    """What the error is made of."""

    def quantile(self, level: float) -> float:
        """Return the quantile of t for a two-sided interval of this level."""
        from scipy.stats import t

        return float(t.isf((1.0 - level) / 2.0, self.degrees_of_freedom))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval, in points."""
        half = self.quantile(level) * self.standard_error
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Return the two-sided p value of the value being 0."""
        from scipy.stats import t

        if self.value == 0:
            return 1.0
        if self.standard_error == 0:
            return 0.0
        statistic = abs(self.value) / self.standard_error
        return float(2.0 * t.sf(statistic, self.degrees_of_freedom))

    def detectable(self, level: float, power: float = POWER) -> float:
        """Return the smallest true difference that a test would find, in points.

        Args:
            level: two-sided level of the test, after correction.
            power: share of repetitions that find it; from the noncentral t distribution.
        """
        from scipy.optimize import brentq
        from scipy.stats import nct, t

        critical = float(t.isf(level / 2.0, self.degrees_of_freedom))

        def missing(shift: float) -> float:
            return float(nct.sf(critical, self.degrees_of_freedom, shift)) - power

        return self.standard_error * float(brentq(missing, 0.0, 6.0 * critical + 10.0))

    def planned(self, *, seeds: float = 1.0, units: float = 1.0) -> Estimate:
        """Return what to expect of so many times the seeds, or the units: the same value."""
        return _combined(self.value, self.parts.scaled(seeds, units))


def estimate(outcomes: Outcomes, units: Units) -> Estimate:
    """Return a score with its error over seeds and units.

    With one seed the error is that over units, conditional on this seed's head.
    """
    parts = _parts(outcomes.values, outcomes.weights, units)
    value = float(outcomes.values.sum(axis=1).mean())
    rounding = outcomes.step**2 / 12.0 / outcomes.seeds
    if outcomes.seeds > 1:
        parts = replace(parts, seed=max(parts.seed, rounding))
    return _combined(value, parts)


def difference(first: Outcomes, second: Outcomes, units: Units, *, same_seeds: bool) -> Estimate:
    """Return the difference first - second of two scores on the same utterances, with its error.

    Args:
        first: of one upstream.
        second: of the other.
        units: of the utterances, which both have in the same order.
        same_seeds: the seeds of both are the same, in the same order (same initial heads, same
            batches), and are compared pair by pair; else they are two independent samples, of at
            least two seeds each.
    """
    if same_seeds:
        values = first.values - second.values
        return estimate(Outcomes(values, first.weights, first.step), units)
    if min(first.seeds, second.seeds) < 2:
        raise ValueError("two samples of seeds need at least two seeds each")
    both = [_parts(one.values, one.weights, units) for one in (first, second)]
    between = first.values.mean(axis=0) - second.values.mean(axis=0)
    paired = _parts(between[numpy.newaxis], first.weights, units)
    counts = (first.seeds, second.seeds)
    seed, seed_freedom = _sum([(part.seed, part.seed_freedom) for part in both])
    freedoms = [(count - 1) * paired.unit_freedom for count in counts]
    rest = _sum([(part.rest, freedom) for part, freedom in zip(both, freedoms, strict=True)])
    rounding = first.step**2 / 12.0 * sum(1.0 / count for count in counts)
    parts = Parts(max(seed, rounding), seed_freedom, paired.unit, paired.unit_freedom, *rest)
    return _combined(float(between.sum()), parts)


def _combined(value: float, parts: Parts) -> Estimate:
    """Add the variance over seeds and that between units, without what both contain.

    A variance between units below zero counts as zero. One over seeds is at least that of rounding
    to whole utterances (see the callers): of a few seeds, equal scores may be chance.
    """
    if parts.seed_freedom == 0:
        return Estimate(value, math.sqrt(parts.unit), parts.unit_freedom, parts)
    variance, freedom = parts.seed + parts.between, parts.seed_freedom
    if parts.between > 0:
        spread = parts.seed**2 / parts.seed_freedom + parts.unit**2 / parts.unit_freedom
        spread += parts.rest**2 / parts.rest_freedom
        freedom = max(variance**2 / spread, min(parts.seed_freedom, parts.unit_freedom))
    return Estimate(value, math.sqrt(variance), freedom, parts)


def _sum(variances: list[tuple[float, float]]) -> tuple[float, float]:
    """Return a sum of variances and its degrees of freedom (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in variances)
    spread = sum(variance**2 / freedom for variance, freedom in variances)
    return total, total**2 / spread if spread > 0 else sum(freedom for _, freedom in variances)


def _parts(values: Floats, weights: Floats, units: Units) -> Parts:
    """Return the variances over seeds and over units; [seeds, utterances] and [utterances]."""
    seeds = len(values)
    strata = numpy.zeros(units.units.max() + 1, dtype=numpy.intp)  # [units]
    strata[units.units] = units.strata
    shares = numpy.bincount(units.units, weights)  # [units]
    totals = numpy.stack([numpy.bincount(units.units, one) for one in values])  # [seeds, units]
    of_stratum = numpy.bincount(strata, shares)
    of_stratum[of_stratum == 0] = 1.0  # without a word, and so without an error
    means = numpy.stack([numpy.bincount(strata, one) for one in totals]) / of_stratum
    residuals = totals - shares * means[:, strata]
    # Expected sums of squares, and their variance, under equal variances of the utterances: the
    # working model of Bell & McCaffrey (2002). Speakers' own variances are in the residuals.
    inside = shares / of_stratum[strata]
    second, third = (numpy.bincount(strata, inside**power) for power in (2, 3))
    kept = 1.0 - second
    scale = numpy.divide(1.0, kept, out=numpy.zeros_like(kept), where=kept > 1e-12)
    spread = float(((scale * of_stratum) ** 2 * (second - 2 * third + second**2)).sum())
    between = residuals.mean(axis=0)
    freedom = max(1.0, 1.0 / spread) if spread > 0 else 1.0
    unit = float((scale[strata] * between**2).sum())
    if seeds == 1:
        return Parts(0.0, 0.0, unit, freedom, 0.0, 0.0)
    rest = float((scale[strata] * (residuals - between) ** 2).sum()) / (seeds * (seeds - 1))
    seed = float(values.sum(axis=1).var(ddof=1)) / seeds
    return Parts(seed, seeds - 1, unit, freedom, rest, (seeds - 1) * freedom)
