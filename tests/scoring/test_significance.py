from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from s3prl_compress.scoring.significance import (
    compare_classes,
    compare_words,
    exact_permutation,
    holm,
    matched_pairs,
    paired_bootstrap,
    segment_differences,
)

# The example of Jurafsky & Martin, Speech and Language Processing (chapter on speech
# recognition, after NIST): four segments, with 2 and 0, 0 and 1, 1 and 2, 1 and 0 errors.
TRUTH = "it was the best of times it was the worst of times it was"
FIRST = "its the best of times it is the worst of times or it was"
SECOND = "it was the best times it won the test of times it was"


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=200))
def test_with_one_seed_it_is_mcnemars_exact_test(differences: list[int]) -> None:
    worse, better = differences.count(1), differences.count(-1)
    expected = mcnemar([[0, worse], [better, 0]], exact=True).pvalue
    assert exact_permutation(np.array(differences)) == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
def test_with_seeds_it_is_scipys_permutation_test(differences: list[int]) -> None:
    values = np.array(differences)
    expected = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda one, other, axis: (one - other).sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
    )
    # Scipy doubles the smaller tail; where the distribution is symmetric that is the same.
    assert exact_permutation(values) == pytest.approx(expected.pvalue)


def test_more_seeds_are_no_more_utterances() -> None:
    truth = ["a"] * 40
    first, second = ["b"] * 8 + ["a"] * 32, ["a"] * 38 + ["b"] * 2
    once = compare_classes(truth, [first], [second])
    thrice = compare_classes(truth, [first] * 3, [second] * 3)
    assert once.p_value == thrice.p_value == pytest.approx(mcnemar([[0, 8], [2, 0]]).pvalue)
    assert once.interval == thrice.interval
    assert (once.test, thrice.test) == ("exact McNemar", "exact permutation over utterances")
    assert once.units == 10


def test_mapsswe_on_the_worked_example() -> None:
    differences = segment_differences([TRUTH], [[FIRST]], [[SECOND]])
    assert differences.tolist() == [2, -1, -1, 1]
    # By hand: mean 1/4, variance (1.75^2 + 2 x 1.25^2 + 0.75^2) / 3 = 2.25, so that
    # W = 0.25 / (1.5 / sqrt(4)) = 1/3, and the normal distribution leaves 0.7389 beyond it.
    assert matched_pairs(differences) == pytest.approx(0.7389, abs=5e-5)
    assert compare_words([TRUTH], [[FIRST]], [[SECOND]]).p_value == matched_pairs(differences)


@pytest.mark.parametrize(
    ("first", "second", "differences"),
    [
        ("a b c d", "a b c d", []),
        ("x b c y", "a b c d", [1, 1]),  # two right words between: two segments
        ("x b y d", "a b c d", [2]),  # one right word between: one segment
        ("x b z c y", "a b c d", [3]),  # an insertion between the two right words
        ("a b c d z z", "", [-2]),  # both fault one stretch: 2 insertions, 4 deletions
        ("x b c d", "a b c y", [1, -1]),  # right by both counts, not by each alone
        ("x b c d", "a x c d", [0]),
    ],
)
def test_segments_are_cut_where_all_are_right(
    first: str, second: str, differences: list[int]
) -> None:
    assert segment_differences(["a b c d"], [[first]], [[second]]).tolist() == differences


def test_segments_add_up_to_all_errors_of_all_seeds() -> None:
    generator = np.random.default_rng(0)
    truth = [" ".join(generator.choice(list("abcdef"), 12)) for _ in range(30)]

    def hear(rate: float) -> list[str]:
        kept = [[w for w in t.split() if generator.random() > rate] for t in truth]
        return [" ".join(words) for words in kept]

    first, second = [hear(0.3), hear(0.3)], [hear(0.1), hear(0.1)]
    deleted = [sum(len(h.split()) for seed in seeds for h in seed) for seeds in (first, second)]
    differences = segment_differences(truth, first, second)
    assert differences.sum() == deleted[1] - deleted[0]
    assert len(differences) < len(segment_differences(truth, first[:1], second[:1])) * 2


def test_mapsswes_statistic_is_that_of_the_paired_t_test() -> None:
    differences = np.random.default_rng(1).integers(-2, 4, 300)
    statistic = stats.ttest_rel(differences, np.zeros(300)).statistic
    assert matched_pairs(differences) == pytest.approx(2 * stats.norm.sf(abs(statistic)))


def test_mapsswe_without_variance_is_the_sign_test() -> None:
    assert matched_pairs(np.array([], dtype=int)) == 1
    assert matched_pairs(np.array([2])) == 1
    assert matched_pairs(np.zeros(5, dtype=int)) == 1
    expected = stats.binomtest(6, 6).pvalue
    assert matched_pairs(np.full(6, -1)) == pytest.approx(expected)


def test_the_paired_bootstrap_is_that_of_scipy() -> None:
    generator = np.random.default_rng(2)
    words = generator.integers(5, 30, 300)
    first, second = generator.binomial(words, 0.14), generator.binomial(words, 0.12)

    def difference(one: np.ndarray, other: np.ndarray, whole: np.ndarray, axis: int) -> np.ndarray:
        return 100 * (one.sum(axis=axis) - other.sum(axis=axis)) / whole.sum(axis=axis)

    expected = stats.bootstrap(
        (first, second, words),
        difference,
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        rng=generator,
    )
    interval, p_value = paired_bootstrap(first, second, words, (300,))
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert interval == pytest.approx(tuple(expected.confidence_interval), abs=0.06 * width)
    normal = 2 * stats.norm.sf(abs(difference(first, second, words, 0) / expected.standard_error))
    assert p_value == pytest.approx(normal, abs=0.02)


def test_folds_are_averaged_however_large_they_are() -> None:
    first = np.array([1] * 90 + [0] * 10)
    interval, _ = paired_bootstrap(first, np.zeros(100, int), np.ones(100, int), (90, 10))
    assert interval == (50.0, 50.0)  # 100 % in one fold, none in the other


def test_equal_systems_are_never_told_apart() -> None:
    result = compare_words([TRUTH, "a"], [[FIRST, "b"]], [[FIRST, "b"]])
    assert (result.p_value, result.bootstrap_p, result.interval) == (1.0, 1.0, (0.0, 0.0))


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_false_alarms_are_as_many_as_promised() -> None:
    generator = np.random.default_rng(4)
    alarms = [
        exact_permutation(generator.integers(-1, 2, (200, 3)).sum(axis=1)) < 0.05
        for _ in range(400)
    ]
    assert 0.02 < np.mean(alarms) < 0.08
