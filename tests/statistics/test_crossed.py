from __future__ import annotations

import numpy as np
import pandas
import pytest
import statsmodels.api
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from s3prl_compress.statistics import (
    Outcomes,
    accuracy_outcomes,
    difference,
    error_outcomes,
    estimate,
    sampling_units,
)

NO_NAMES = sampling_units([""] * 40)


def _drawn(seeds: int, utterances: int = 40, *, seed: int = 0, share: float = 0.7) -> Outcomes:
    drawn = np.random.default_rng(seed).random((seeds, utterances)) < share
    return accuracy_outcomes(drawn)


def _table(speakers: int, seeds: int, each: int) -> tuple[np.ndarray, list[str]]:
    """Outcomes with effects of seeds and speakers: [seeds, speakers x each], and the speakers."""
    random = np.random.default_rng(speakers)
    values = 70 + random.normal(0, 2, (seeds, 1)) + random.normal(0, 5, (1, speakers))
    values = values + random.normal(0, 3, (seeds, speakers))
    values = np.repeat(values, each, axis=1) + random.normal(0, 20, (seeds, speakers * each))
    return values, [str(speaker) for speaker in range(speakers) for _ in range(each)]


def test_the_balanced_case_is_the_two_way_analysis_of_variance() -> None:
    speakers, seeds, each = 12, 5, 4
    values, names = _table(speakers, seeds, each)
    weights = np.full(len(names), 1 / len(names))
    found = estimate(Outcomes(values * weights, weights, 0.0), sampling_units(names))
    means = values.reshape(seeds, speakers, each).mean(axis=2)
    frame = pandas.DataFrame(
        [(s, c, means[s, c]) for s in range(seeds) for c in range(speakers)],
        columns=["seed", "speaker", "y"],
    )
    squares = anova_lm(ols("y ~ C(seed) + C(speaker)", frame).fit())["mean_sq"]
    seed, speaker, rest = (squares[key] for key in ("C(seed)", "C(speaker)", "Residual"))
    cells = seeds * speakers
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error**2 == pytest.approx((seed + speaker - rest) / cells)
    freedom = (seed + speaker - rest) ** 2 / (
        seed**2 / (seeds - 1)
        + speaker**2 / (speakers - 1)
        + rest**2 / ((seeds - 1) * (speakers - 1))
    )
    assert found.degrees_of_freedom == pytest.approx(freedom)


def test_one_seed_on_utterances_is_the_t_test() -> None:
    first, second = _drawn(1, seed=1), _drawn(1, seed=2, share=0.5)
    found = difference(first, second, NO_NAMES, same_seeds=True)
    one, other = (outcomes.values[0] / outcomes.weights for outcomes in (first, second))
    expected = stats.ttest_rel(one, other)
    assert found.p_value() == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))


def test_without_variance_between_utterances_it_is_the_t_test_over_seeds() -> None:
    random = np.random.default_rng(3)
    one, other = random.normal(70, 3, (2, 6, 1)) + np.zeros(40)
    other[:2] -= 4
    weights = np.full(40, 1 / 40)
    first, second = (Outcomes(values * weights, weights, 0.0) for values in (one, other))
    paired = difference(first, second, NO_NAMES, same_seeds=True)
    assert paired.p_value() == pytest.approx(stats.ttest_rel(one[:, 0], other[:, 0]).pvalue)
    welch = stats.ttest_ind(one[:4, 0], other[:, 0], equal_var=False)
    apart = difference(first.only(range(4)), second, NO_NAMES, same_seeds=False)
    assert apart.p_value() == pytest.approx(welch.pvalue)
    assert apart.degrees_of_freedom == pytest.approx(welch.df)


def test_unequal_speakers_have_the_cluster_robust_variance_of_statsmodels() -> None:
    random = np.random.default_rng(4)
    sizes = random.integers(2, 20, 15)
    names = np.repeat(np.arange(15), sizes)
    correct = random.random(len(names)) < random.beta(4, 2, 15)[names]
    found = estimate(accuracy_outcomes(correct[np.newaxis]), sampling_units(list(map(str, names))))
    model = statsmodels.api.OLS(100.0 * correct, np.ones(len(names)))
    fitted = model.fit(
        cov_type="cluster", cov_kwds={"groups": names, "use_correction": False}, use_t=True
    )
    shares = sizes / sizes.sum()
    correction = 1 / (1 - (shares**2).sum())
    assert found.standard_error == pytest.approx(float(fitted.bse[0]) * np.sqrt(correction))
    assert 1 < found.degrees_of_freedom < 14


def test_few_speakers_are_strata_of_their_utterances() -> None:
    names = ["a"] * 50 + ["b"] * 30
    correct = np.random.default_rng(5).random((1, 80)) < np.repeat([0.9, 0.3], [50, 30])
    found = estimate(accuracy_outcomes(correct), sampling_units(names))
    parts = correct[0, :50], correct[0, 50:]
    variance = sum((len(p) / 80) ** 2 * p.var(ddof=1) / len(p) for p in parts)
    assert found.standard_error == pytest.approx(100 * np.sqrt(variance))


def test_a_word_error_rates_error_is_that_of_the_bootstrap() -> None:
    random = np.random.default_rng(6)
    words = random.integers(5, 30, 400)
    errors = random.binomial(words, random.beta(2, 10, 400))
    found = estimate(error_outcomes(errors[np.newaxis], words), sampling_units([""] * 400))
    expected = stats.bootstrap(
        (errors, words),
        lambda e, w, axis: 100 * e.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        rng=random,
    )
    assert found.value == pytest.approx(100 * errors.sum() / words.sum())
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.05)


def test_folds_count_alike_however_large_they_are() -> None:
    correct = np.array([[1] * 90 + [0] * 10])
    found = estimate(accuracy_outcomes(correct, (90, 10)), sampling_units([""] * 100))
    assert found.value == pytest.approx(50)


def test_equal_scores_of_three_seeds_are_no_proof() -> None:
    first = np.zeros((3, 40))
    first[:, 0] = 1
    found = difference(
        accuracy_outcomes(first), accuracy_outcomes(np.zeros((3, 40))), NO_NAMES, same_seeds=True
    )
    assert found.value == 2.5
    assert found.p_value() > 0.01


def test_equal_predictions_differ_by_nothing() -> None:
    outcomes = _drawn(3)
    found = difference(outcomes, outcomes, NO_NAMES, same_seeds=True)
    assert (found.value, found.p_value()) == (0, 1)
    low, high = found.interval()
    assert low < 0 < high < outcomes.step


def test_two_samples_need_two_seeds_each() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        difference(_drawn(1), _drawn(3), NO_NAMES, same_seeds=False)


def test_utterances_without_words_weigh_nothing() -> None:
    speakers = ["a", "a", "b", "b"]
    outcomes = error_outcomes([[1, 0, 1, 0]], [4, 4, 0, 0])
    found = estimate(outcomes, sampling_units(speakers))
    assert found.value == 25
    assert np.isfinite(found.standard_error)


@pytest.mark.parametrize("level", [0.05, 0.05 / 7])
def test_the_detectable_difference_is_found_with_the_stated_power(level: float) -> None:
    from statsmodels.stats.power import TTestPower

    scores = np.array([69.0, 71.0, 73.0, 70.0, 70.5])
    weights = np.full(40, 1 / 40)
    found = estimate(Outcomes(scores[:, np.newaxis] * weights, weights, 0.0), NO_NAMES)
    effect = TTestPower().solve_power(nobs=5, alpha=level, power=0.8, alternative="two-sided")
    assert found.detectable(level) == pytest.approx(effect * scores.std(ddof=1), rel=1e-3)


def test_without_seeds_equal_outcomes_are_no_certainty() -> None:
    """Two models with the same texts may differ on the next utterance."""
    errors = error_outcomes(np.array([[1, 0, 2, 0]]), [10, 5, 20, 15])
    found = difference(errors, errors, sampling_units([""] * 4), same_seeds=True)
    assert found.value == 0
    assert found.standard_error == pytest.approx(100 / 50)  # one error in the 50 tokens
    assert found.detectable(0.05) > 2
