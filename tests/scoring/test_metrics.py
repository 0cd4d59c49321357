from __future__ import annotations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score

from s3prl_compress.scoring.metrics import (
    accuracy,
    binomial_standard_error,
    bootstrap_wer,
    chance,
    character_error_rate,
    resampled_sums,
    wilson_interval,
    word_error_rate,
    word_errors,
)

TRUTH = ["ONE TWO THREE", "FOUR FIVE SIX SEVEN", "EIGHT"]
PREDICTED = ["ONE TOO THREE", "", "EIGHT NINE"]

words = st.lists(st.sampled_from(["A", "B", "C"]), min_size=1, max_size=6).map(" ".join)
heard = st.lists(st.sampled_from(["A", "B", "C"]), max_size=6).map(" ".join)


def labels(count: int, seed: int) -> list[str]:
    return [str(number) for number in np.random.default_rng(seed).integers(0, 3, count)]


@pytest.mark.parametrize("count", [1, 7, 500])
def test_accuracy_is_that_of_scikit_learn(count: int) -> None:
    truth, predicted = labels(count, 0), labels(count, 1)
    assert accuracy(truth, predicted) == pytest.approx(100 * accuracy_score(truth, predicted))


def test_accuracy_needs_as_many_predictions_as_truths() -> None:
    with pytest.raises(ValueError, match="1 truths and 2 predictions"):
        accuracy(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="0 truths"):
        accuracy([], [])


@pytest.mark.parametrize(("percent", "count"), [(0.0, 5), (100.0, 5), (50.0, 240), (91.7, 3081)])
def test_standard_error_is_that_of_the_binomial(percent: float, count: int) -> None:
    expected = 100 * stats.binom(count, percent / 100).std() / count
    assert binomial_standard_error(percent, count) == pytest.approx(expected)


def test_chance_is_the_share_of_the_largest_class() -> None:
    truth = labels(100, 2)
    values, counts = np.unique(truth, return_counts=True)
    constant = [str(values[counts.argmax()])] * 100
    assert chance(truth) == pytest.approx(accuracy(truth, constant))


@pytest.mark.parametrize(("percent", "count"), [(0.0, 5), (100.0, 5), (50.0, 240), (91.7, 3081)])
def test_wilsons_interval_is_that_of_scipy(percent: float, count: int) -> None:
    right = round(percent / 100 * count)
    expected = stats.binomtest(right, count).proportion_ci(method="wilson")
    given_interval = wilson_interval(100 * right / count, count)
    assert given_interval == pytest.approx((100 * expected.low, 100 * expected.high))


def test_error_rates_count_over_the_corpus() -> None:
    # One substitution of 3, four deletions of 4, one insertion beside 1.
    errors, lengths = word_errors(TRUTH, PREDICTED)
    assert errors.tolist() == [1, 4, 1]
    assert lengths.tolist() == [3, 4, 1]
    assert word_error_rate(TRUTH, PREDICTED) == pytest.approx(100 * 6 / 8)
    # One letter for another, 19 deleted, a space and four letters inserted.
    assert character_error_rate(TRUTH, PREDICTED) == pytest.approx(100 * 25 / 37)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, heard), min_size=1, max_size=5))
def test_word_error_rate_is_that_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = map(list, zip(*pairs, strict=True))
    assert word_error_rate(truth, predicted) == pytest.approx(100 * jiwer.wer(truth, predicted))
    assert character_error_rate(truth, predicted) == pytest.approx(
        100 * jiwer.cer(truth, predicted)
    )


def test_error_rates_need_pairs_and_words() -> None:
    with pytest.raises(ValueError, match="1 truths and 2 predictions"):
        word_error_rate(["A"], ["A", "B"])
    with pytest.raises(ValueError, match="no word"):
        word_error_rate([""], ["A"])


def test_the_bootstrap_agrees_with_the_ratios_asymptotic_error() -> None:
    generator = np.random.default_rng(3)
    lengths = generator.integers(5, 30, 400)
    truth = [" ".join(["A"] * length) for length in lengths]
    wrong = generator.binomial(lengths, generator.beta(2, 10, 400))
    predicted = [
        " ".join(["B"] * bad + ["A"] * (length - bad))
        for bad, length in zip(wrong, lengths, strict=True)
    ]
    rate = wrong.sum() / lengths.sum()
    linear = 100 * (wrong - rate * lengths).std(ddof=1) / lengths.mean() / np.sqrt(400)
    error, (low, high) = bootstrap_wer(truth, predicted, seed=1)
    assert error == pytest.approx(linear, rel=0.05)
    assert low == pytest.approx(100 * rate - 1.96 * linear, abs=0.15 * linear)
    assert high == pytest.approx(100 * rate + 1.96 * linear, abs=0.15 * linear)


def test_the_bootstrap_is_the_seeds() -> None:
    once = bootstrap_wer(TRUTH, PREDICTED, draws=500, seed=1)
    assert once == bootstrap_wer(TRUTH, PREDICTED, draws=500, seed=1)
    assert once != bootstrap_wer(TRUTH, PREDICTED, draws=500, seed=2)


def test_all_quantities_are_summed_over_one_resample() -> None:
    values = np.arange(12).reshape(1, 12)
    drawn = resampled_sums(np.concatenate([values, 2 * values]), draws=50, seed=0)
    assert drawn.shape == (2, 50)
    assert (drawn[1] == 2 * drawn[0]).all()
    assert len(set(drawn[0])) > 10
