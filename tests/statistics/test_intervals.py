from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from s3prl_compress.statistics import (
    accuracy_interval,
    accuracy_outcomes,
    estimate,
    sampling_units,
    wilson_interval,
)


@pytest.mark.parametrize(("percent", "count"), [(0.0, 5), (100.0, 5), (50.0, 240), (91.7, 3081)])
def test_wilsons_interval_is_that_of_scipy(percent: float, count: int) -> None:
    right = round(percent / 100 * count)
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    given_interval = wilson_interval(100 * right / count, count)
    assert given_interval == pytest.approx((100 * expected.low, 100 * expected.high))


def test_one_seed_on_many_utterances_has_wilsons_interval() -> None:
    correct = np.arange(3000) % 4 > 0
    found = estimate(accuracy_outcomes(correct[np.newaxis]), sampling_units([""] * 3000))
    assert accuracy_interval(found, 3000) == pytest.approx(wilson_interval(75, 3000), abs=0.01)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_perfect_score_has_an_interval(seeds: int) -> None:
    found = estimate(accuracy_outcomes(np.ones((seeds, 50))), sampling_units([""] * 50))
    low, high = accuracy_interval(found, 50 * seeds)
    assert 60 < low < 98
    assert high == 100


@pytest.mark.parametrize("seeds", [1, 3, 10])
@pytest.mark.parametrize("utterances", [3, 6, 7, 49, 50, 200])
@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_seeds_that_agree_do_not_narrow_that_of_a_perfect_score(
    seeds: int, utterances: int, percent: float
) -> None:
    """Also where the sum over utterances is off by rounding: 99.99999999999999."""
    units = sampling_units([""] * utterances)
    correct = np.full((seeds, utterances), percent == 100.0)
    found = accuracy_interval(estimate(accuracy_outcomes(correct), units), correct.size)
    one = accuracy_interval(estimate(accuracy_outcomes(correct[:1]), units), utterances)
    assert found == pytest.approx(one)
    assert percent in found
    quantile = stats.t.ppf(0.975, utterances - 1)
    expected = stats.binomtest(round(percent / 100 * utterances), utterances).proportion_ci(
        1 - 2 * float(stats.norm.sf(quantile)), method="wilson"
    )
    assert found == pytest.approx((100 * expected.low, 100 * expected.high))


def test_seeds_that_differ_widen_it() -> None:
    units = sampling_units([""] * 100)
    alike = np.tile(np.arange(100) < 75, (3, 1))
    apart = np.stack([np.arange(100) < share for share in (65, 75, 85)])
    widths = []
    for correct in (alike, apart):
        found = estimate(accuracy_outcomes(correct), units)
        low, high = accuracy_interval(found, 100)
        assert low < found.value < high
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_its_ends_are_where_the_score_test_with_t_stops_rejecting(seeds: int, level: float) -> None:
    correct = np.random.default_rng(seeds).random((seeds, 200)) < 0.8
    found = estimate(accuracy_outcomes(correct), sampling_units([""] * 200))
    share = found.value / 100
    effective = min(share * (1 - share) / (found.standard_error / 100) ** 2, correct.size)
    for end in accuracy_interval(found, correct.size, level):
        error = np.sqrt(end / 100 * (1 - end / 100) / effective)
        assert abs(share - end / 100) / error == pytest.approx(found.quantile(level))


def test_a_level_with_an_extreme_quantile_gives_an_interval() -> None:
    correct = np.stack([np.arange(100) < share for share in (65, 75)])
    found = estimate(accuracy_outcomes(correct), sampling_units([""] * 100))
    low, high = accuracy_interval(found, 200, 1 - 1e-9)
    assert 0 <= low < 2
    assert 98 < high <= 100
