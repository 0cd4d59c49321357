from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score

from s3prl_compress.scoring.metrics import accuracy, binomial_standard_error, chance


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
