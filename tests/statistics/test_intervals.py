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
