from __future__ import annotations

import numpy
import pytest
import scipy.stats

from s3prl_compress.latency.ratios import interquartile_range, is_noisy, median, paired_ratio


@pytest.fixture
def times() -> tuple[list[float], list[float]]:
    generator = numpy.random.default_rng(3)
    this = 1 + generator.gamma(2, 0.02, size=25)
    return list(this), list(2.1 * this * (1 + generator.normal(0, 0.01, size=25)))


def test_median_and_spread_are_those_of_scipy(times: tuple[list[float], list[float]]) -> None:
    this, against = times
    for values in (this, against, this[:4], this[:1]):
        assert median(values) == pytest.approx(numpy.median(values))
        assert interquartile_range(values) == pytest.approx(scipy.stats.iqr(values))


def test_interval_is_the_percentile_bootstrap_over_pairs(
    times: tuple[list[float], list[float]],
) -> None:
    this, against = times
    found = paired_ratio(this, against, resamples=2000, seed=4)
    ratios = numpy.array(against) / numpy.array(this)
    picks = numpy.random.default_rng(4).integers(25, size=(2000, 25))
    expected = numpy.quantile(numpy.median(ratios[picks], axis=1), [0.025, 0.975])
    assert found.ratio == pytest.approx(numpy.median(ratios))
    assert found.interval == pytest.approx(tuple(expected), abs=2e-3)
    assert found.interval[0] < found.ratio < found.interval[1]


def test_a_single_pair_has_an_interval_without_width() -> None:
    assert paired_ratio([2.0], [3.0]).interval == (1.5, 1.5)


def test_what_slows_both_of_a_pair_cancels() -> None:
    slow_and_fast = [1.0, 5.0, 1.0, 5.0, 1.0]
    doubled = [2 * value for value in slow_and_fast]
    assert paired_ratio(slow_and_fast, doubled).interval == (2.0, 2.0)


def test_the_same_times_give_the_same_interval(times: tuple[list[float], list[float]]) -> None:
    assert paired_ratio(*times) == paired_ratio(*times)


def test_noise_is_an_interquartile_range_above_a_tenth() -> None:
    assert not is_noisy([1.0, 1.01, 1.02, 1.03])
    assert is_noisy([1.0, 1.2, 1.4, 1.6])


@pytest.mark.parametrize(
    ("this", "against"), [([1.0], [1.0, 2.0]), ([], []), ([1.0, 0.0], [1.0, 1.0])]
)
def test_pairs_that_are_none_are_refused(this: list[float], against: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs|time"):
        paired_ratio(this, against)
