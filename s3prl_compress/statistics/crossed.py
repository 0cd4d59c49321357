"""Errors over seeds and speakers at once: a crossed random-effects model.

A score is modelled as y[s, c] = mean + seed[s] + speaker[c] + residual[s, c], weighted by the
speakers' shares of the test set; the difference of two upstreams has the same model. Its variance
is estimated by the method of moments of the two-way analysis of variance (Searle, Casella &
McCulloch 1992, chapter 5). In the balanced case that is
(MS_seed + MS_speaker - MS_residual) / (seeds speakers). It is written here with the sandwich sums
of squares of two-way clustering (Cameron, Gelbach & Miller 2011), which allow for speakers of
unequal size and of unequal variance. Degrees of freedom are Satterthwaite's (1946).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy

from .outcomes import Floats, Outcomes
from .units import Units

POWER = 0.8
"""Power at which the smallest detectable difference is defined."""


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of a score's mean, in squared points, each with its degrees of freedom."""

    seed: float
    """Variance over seeds with the units fixed. It contains `residual`: how the effect of a seed
    differs between units. 0 with one seed."""
    seed_df: float
    """Number of seeds minus one; 0 with one seed."""
    unit: float
    """Variance over units with the seeds fixed. It contains `residual`, too."""
    unit_df: float
    residual: float
    """Variance of the interaction of seeds and units; with few units a rough estimate."""
    residual_df: float

    @property
    def unit_alone(self) -> float:
        """The variance of the units alone, which more seeds do not reduce."""
        return max(0.0, self.unit - self.residual)

    @property
    def seed_alone(self) -> float:
        """The variance of the seeds alone, which more units do not reduce."""
        return max(0.0, self.seed - self.residual)

    def scaled(self, seeds: float, units: float) -> VarianceComponents:
        """Return those to expect with `seeds` times the seeds and `units` times the units."""
        unit_df = self.unit_df * units
        if self.seed_df == 0:
            return VarianceComponents(0.0, 0.0, self.unit / units, unit_df, 0.0, 0.0)
        residual = self.residual / (seeds * units)
        # What `seed` has beyond `seed_alone`: the residual, or less where that is estimated larger.
        shared = (self.seed - self.seed_alone) / units
        seed_df = seeds * (self.seed_df + 1) - 1
        return VarianceComponents(
            seed=(self.seed_alone + shared) / seeds,
            seed_df=seed_df,
            unit=self.unit_alone / units + residual,
            unit_df=unit_df,
            residual=residual,
            residual_df=seed_df * unit_df,
        )


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, with its standard error."""

    value: float
    """In points."""
    standard_error: float
    """In points."""
    degrees_of_freedom: float
    components: VarianceComponents
    """The variance components of the standard error."""

    def quantile(self, level: float) -> float:
        """Return the quantile of t for a two-sided interval of this level."""
        from scipy.stats import t

        return float(t.isf((1.0 - level) / 2.0, self.degrees_of_freedom))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided interval, in points."""
        half = self.quantile(level) * self.standard_error
        return self.value - half, self.value + half

    def p_value(self) -> float:
        """Return the two-sided p value for the true value being 0."""
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
            level: two-sided significance level of the test, after correction.
            power: probability that the test finds it, from the noncentral t distribution.
        """
        from scipy.optimize import brentq
        from scipy.stats import nct, t

        critical = float(t.isf(level / 2.0, self.degrees_of_freedom))

        def power_gap(shift: float) -> float:
            return float(nct.sf(critical, self.degrees_of_freedom, shift)) - power

        return self.standard_error * float(brentq(power_gap, 0.0, 6.0 * critical + 10.0))

    def planned(self, *, seeds: float = 1.0, units: float = 1.0) -> Estimate:
        """Return the same value with the error to expect with more seeds, or more units.

        Args:
            seeds: how many times as many seeds.
            units: how many times as many units.
        """
        return _combined(self.value, self.components.scaled(seeds, units))


def estimate(outcomes: Outcomes, units: Units) -> Estimate:
    """Return a score with its error over seeds and units.

    With one seed the error is over units only, conditional on this seed's head. It is at least that
    of one error in one unit: that a sample shows no variance does not mean that there is none.
    """
    components = _components(outcomes.values, outcomes.weights, units)
    value = float(outcomes.values.sum(axis=1).mean())
    if outcomes.seeds > 1:
        rounding = outcomes.step**2 / 12.0 / outcomes.seeds
        components = replace(components, seed=max(components.seed, rounding))
    else:
        components = replace(components, unit=max(components.unit, outcomes.step**2))
    return _combined(value, components)


def difference(first: Outcomes, second: Outcomes, units: Units, *, same_seeds: bool) -> Estimate:
    """Return the difference first - second of two scores on the same utterances, with its error.

    Args:
        first: outcomes of one upstream.
        second: outcomes of the other.
        units: sampling units of the utterances, which both have in the same order.
        same_seeds: whether both have the same seeds in the same order (same initial heads, same
            batches), which are then compared pair by pair; otherwise they are two independent
            samples, of at least two seeds each.

    Raises:
        ValueError: the samples are independent, and one of them has a single seed.
    """
    if same_seeds:
        values = first.values - second.values
        return estimate(Outcomes(values, first.weights, first.step), units)
    if min(first.seeds, second.seeds) < 2:
        raise ValueError("two samples of seeds need at least two seeds each")
    both = [_components(one.values, one.weights, units) for one in (first, second)]
    between = first.values.mean(axis=0) - second.values.mean(axis=0)
    # Both upstreams heard the same utterances, so their units are compared pair by pair even so.
    mean_difference = _components(between[numpy.newaxis], first.weights, units)
    counts = (first.seeds, second.seeds)
    seed, seed_df = _sum([(part.seed, part.seed_df) for part in both])
    residual_dfs = [(count - 1) * mean_difference.unit_df for count in counts]
    residual, residual_df = _sum(
        [(part.residual, df) for part, df in zip(both, residual_dfs, strict=True)]
    )
    rounding = first.step**2 / 12.0 * sum(1.0 / count for count in counts)
    components = VarianceComponents(
        seed=max(seed, rounding),
        seed_df=seed_df,
        unit=mean_difference.unit,
        unit_df=mean_difference.unit_df,
        residual=residual,
        residual_df=residual_df,
    )
    return _combined(float(between.sum()), components)


def _combined(value: float, components: VarianceComponents) -> Estimate:
    """Add the variances over seeds and over units, counting the residual in both of them once.

    A negative variance of the units alone counts as zero. The callers keep the variance over seeds
    at least as large as that of rounding to whole utterances, because a few seeds may have equal
    scores by chance.
    """
    if components.seed_df == 0:
        return Estimate(value, math.sqrt(components.unit), components.unit_df, components)
    variance, freedom = components.seed + components.unit_alone, components.seed_df
    if components.unit_alone > 0:
        spread = components.seed**2 / components.seed_df + components.unit**2 / components.unit_df
        spread += components.residual**2 / components.residual_df
        freedom = max(variance**2 / spread, min(components.seed_df, components.unit_df))
    return Estimate(value, math.sqrt(variance), freedom, components)


def _sum(variances: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the sum of (variance, degrees of freedom) pairs, with Satterthwaite's (1946)."""
    total = sum(variance for variance, _ in variances)
    spread = sum(variance**2 / freedom for variance, freedom in variances)
    return total, total**2 / spread if spread > 0 else sum(freedom for _, freedom in variances)


def _components(values: Floats, weights: Floats, units: Units) -> VarianceComponents:
    """Return the variance components of values [seeds, utterances] with weights [utterances]."""
    seeds = len(values)
    strata = numpy.zeros(units.units.max() + 1, dtype=numpy.intp)  # [units]
    strata[units.units] = units.strata
    shares = numpy.bincount(units.units, weights)  # [units]
    totals = numpy.stack([numpy.bincount(units.units, one) for one in values])  # [seeds, units]
    of_stratum = numpy.bincount(strata, shares)
    of_stratum[of_stratum == 0] = 1.0  # a stratum without any word has no error either
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
        return VarianceComponents(0.0, 0.0, unit, freedom, 0.0, 0.0)
    residual = float((scale[strata] * (residuals - between) ** 2).sum()) / (seeds * (seeds - 1))
    seed = float(values.sum(axis=1).var(ddof=1)) / seeds
    return VarianceComponents(seed, seeds - 1, unit, freedom, residual, (seeds - 1) * freedom)
