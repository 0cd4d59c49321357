from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.statistics import (
    POWER,
    TWO_SIDED,
    Estimate,
    Outcomes,
    estimate,
    judge,
    overall,
    sampling_units,
    seeds_needed,
    units_needed,
)

POINTS = st.floats(-100, 100)
MARGINS = st.floats(0.01, 50)
SEEDS, SPEAKERS = 6, 12
SPREADS = {"seed": 2.0, "speaker": 3.0, "rest": 4.0}
Array = npt.NDArray[np.float64]


def _standardized(values: Array) -> Array:
    """Effects with a mean of exactly 0 along every axis and a variance of exactly 1."""
    for axis in (axis for axis in range(values.ndim) if values.shape[axis] > 1):
        values = values - values.mean(axis=axis, keepdims=True)
    freedom = math.prod(size - 1 for size in values.shape if size > 1)
    return values / np.sqrt((values**2).sum() / freedom)


def _estimate(seed: Array, speaker: Array, rest: Array, loss: float) -> Estimate:
    """A crossed design: [seeds, 1], [1, speakers] and [seeds, speakers] in units of `SPREADS`."""
    values = loss + SPREADS["seed"] * seed + SPREADS["speaker"] * speaker + SPREADS["rest"] * rest
    speakers = values.shape[1]
    weights = np.full(speakers, 1 / speakers)
    units = sampling_units([str(number) for number in range(speakers)])
    return estimate(Outcomes(values * weights, weights, 0.0), units)


def _as_expected(random: np.random.Generator, loss: float) -> Estimate:
    """Variances are estimated as what they are: means of seeds and speakers contain the rest's."""
    shapes = {"seed": (SEEDS, 1), "speaker": (1, SPEAKERS), "rest": (SEEDS, SPEAKERS)}
    effects = {name: _standardized(random.normal(size=shape)) for name, shape in shapes.items()}
    for name, others in (("seed", SPEAKERS), ("speaker", SEEDS)):
        effects[name] *= math.sqrt(1 + (SPREADS["rest"] / SPREADS[name]) ** 2 / others)
    return _estimate(effects["seed"], effects["speaker"], effects["rest"], loss)


def _drawn(random: np.random.Generator, seeds: int, speakers: int, loss: float = 0.0) -> Estimate:
    effects = (random.normal(size=size) for size in ((seeds, 1), (1, speakers), (seeds, speakers)))
    return _estimate(*effects, loss)


def _resolved(found: Estimate, margin: float) -> bool:
    return judge(*found.interval(TWO_SIDED), margin) != "not resolved"


@given(POINTS, POINTS, MARGINS)
def test_the_verdict_says_where_the_interval_lies(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    expected = {
        "passed": high < margin,
        "failed": low > margin,
        "not resolved": low <= margin <= high,
    }
    assert [name for name, holds in expected.items() if holds] == [judge(low, high, margin)]


@given(POINTS, POINTS, MARGINS, MARGINS)
def test_a_larger_margin_never_makes_it_worse(
    one: float, other: float, margin: float, more: float
) -> None:
    low, high = sorted((one, other))
    order = ["failed", "not resolved", "passed"]
    verdicts = [judge(low, high, limit) for limit in (margin, margin + more)]
    assert verdicts == sorted(verdicts, key=order.index)


def test_all_conditions_must_hold() -> None:
    assert overall("passed", "passed") == "passed"
    assert overall("passed", "not resolved") == "not resolved"
    assert overall("not resolved", "failed") == "failed"


@pytest.mark.parametrize(("seeds", "speakers"), [(3, 30), (10, 10)])
def test_a_loss_of_just_the_margin_rarely_passes_and_rarely_fails(
    seeds: int, speakers: int
) -> None:
    random = np.random.default_rng(seeds)
    trials = 1500
    verdicts = [
        judge(*_drawn(random, seeds, speakers, loss=2.0).interval(TWO_SIDED), 2.0)
        for _ in range(trials)
    ]
    chance = 2.5 * math.sqrt(0.05 * 0.95 / trials)
    for verdict in ("passed", "failed"):
        assert 0.035 < verdicts.count(verdict) / trials < 0.05 + chance


def test_scaled_parts_are_those_of_a_larger_experiment() -> None:
    random = np.random.default_rng(1)
    planned = _as_expected(random, 0.0).planned(seeds=4, units=5)
    seeds, speakers = 4 * SEEDS, 5 * SPEAKERS
    seed, speaker, rest = (SPREADS[key] ** 2 for key in ("seed", "speaker", "rest"))
    expected = seed / seeds + speaker / speakers + rest / (seeds * speakers)
    assert planned.standard_error**2 == pytest.approx(expected)
    drawn = [_drawn(random, seeds, speakers) for _ in range(300)]
    freedom = float(np.median([one.degrees_of_freedom for one in drawn]))
    assert planned.degrees_of_freedom == pytest.approx(freedom, rel=0.25)


@pytest.mark.parametrize("margin", [2.0, -2.0])
def test_as_many_seeds_as_told_resolve_it(margin: float) -> None:
    """On the same test set; the loss, 0 on these speakers, is below the margin or above it."""
    random = np.random.default_rng(2)
    pilot = _as_expected(random, 0.0)
    assert not _resolved(pilot, margin)
    seeds = seeds_needed(pilot, margin)
    assert seeds is not None
    assert seeds > SEEDS
    speaker = _standardized(random.normal(size=(1, SPEAKERS)))
    trials = 500
    found = [
        _estimate(
            random.normal(size=(seeds, 1)), speaker, random.normal(size=(seeds, SPEAKERS)), 0.0
        )
        for _ in range(trials)
    ]
    share = sum(_resolved(one, margin) for one in found) / trials
    assert POWER - 0.06 < share < POWER + 0.1  # of whole seeds there are a bit too many


@pytest.mark.parametrize("margin", [2.0, -2.0])
def test_as_many_speakers_as_told_resolve_it(margin: float) -> None:
    """With the same seeds."""
    random = np.random.default_rng(3)
    pilot = _as_expected(random, 0.0)
    assert not _resolved(pilot, margin)
    factor = units_needed(pilot, margin)
    assert factor is not None
    speakers = math.ceil(factor * SPEAKERS)
    seed = _standardized(random.normal(size=(SEEDS, 1)))
    trials = 500
    found = [
        _estimate(
            seed, random.normal(size=(1, speakers)), random.normal(size=(SEEDS, speakers)), 0.0
        )
        for _ in range(trials)
    ]
    share = sum(_resolved(one, margin) for one in found) / trials
    assert POWER - 0.06 < share < POWER + 0.06


def test_what_no_number_resolves_is_said() -> None:
    pilot = _as_expected(np.random.default_rng(4), 0.0)
    # 1.4: less than the one-sided error that the speakers alone leave, 1.8 x 3 / sqrt(12).
    assert seeds_needed(pilot, 1.4) is None
    # 1.3: less than the seeds alone leave, 2.0 x 2 / sqrt(6).
    assert units_needed(pilot, 1.3) is None
    assert units_needed(pilot, 0.0) is None
    alone = _drawn(np.random.default_rng(5), 1, SPEAKERS)
    assert seeds_needed(alone, 2.0) is None
    assert units_needed(alone, 2.0) is not None


def test_the_nearer_the_margin_the_more_is_needed() -> None:
    pilot = _as_expected(np.random.default_rng(6), 0.0)
    seeds = [seeds_needed(pilot, margin) for margin in (1.8, 2.0, 2.2)]
    factors = [units_needed(pilot, margin) for margin in (1.9, 2.0, 2.2)]
    for needed in (seeds, factors):
        assert None not in needed
        assert needed == sorted(needed, reverse=True)  # type: ignore[type-var]
        assert len(set(needed)) == 3
