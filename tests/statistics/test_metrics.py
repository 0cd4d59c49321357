from __future__ import annotations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score

from s3prl_compress.statistics import EditCounts, difference, sampling_units
from s3prl_compress.statistics.mapsswe import matched_pairs, segment_differences
from s3prl_compress.statistics.metrics import (
    ACCURACY,
    CER,
    PER,
    WER,
    accuracy,
    chance,
    character_error_rate,
    character_errors,
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


def test_chance_is_the_share_of_the_largest_class() -> None:
    truth = labels(100, 2)
    values, counts = np.unique(truth, return_counts=True)
    constant = [str(values[counts.argmax()])] * 100
    assert chance(truth) == pytest.approx(accuracy(truth, constant))


def test_error_rates_count_over_the_corpus() -> None:
    # One substitution of 3, four deletions of 4, one insertion beside 1.
    errors, lengths = word_errors(TRUTH, PREDICTED)
    assert errors.tolist() == [1, 4, 1]
    assert lengths.tolist() == [3, 4, 1]
    assert word_error_rate(TRUTH, PREDICTED) == pytest.approx(100 * 6 / 8)
    errors, lengths = character_errors(TRUTH, PREDICTED)
    assert errors.tolist() == [1, 19, 5]
    assert lengths.tolist() == [13, 19, 5]
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
    with pytest.raises(ValueError, match="no character"):
        character_error_rate([""], ["A"])


@pytest.mark.parametrize(
    ("speakers", "units"),
    [
        ([""] * 500, "500 utterances"),
        (["a", "b"] * 250, "500 utterances of 2 speakers"),
        (list("abcdefghij") * 50, "10 speakers"),
    ],
)
def test_an_accuracys_error_says_what_it_is_over(speakers: list[str], units: str) -> None:
    truth, predicted = labels(500, 0), labels(500, 1)
    found = ACCURACY.measure(truth, predicted, speakers)
    assert found.score == pytest.approx(accuracy(truth, predicted))
    assert found.units == units
    assert found.interval[0] < found.score < found.interval[1]
    # The classes were drawn without regard to speakers, so all three estimate the same.
    binomial = stats.binom(500, found.score / 100).std() / 5
    assert found.standard_error == pytest.approx(binomial, rel=0.01 if "speak" not in units else 1)


def test_speakers_who_differ_make_the_error_larger() -> None:
    truth = ["a"] * 200
    predicted = ["a" if number % 10 < 5 else "b" for number in range(200)]
    speakers = [str(number % 10) for number in range(200)]
    alone = ACCURACY.measure(truth, predicted, [""] * 200)
    found = ACCURACY.measure(truth, predicted, speakers)
    # Five speakers have all right, five none: a t test over ten numbers.
    assert found.standard_error == pytest.approx(stats.sem([100] * 5 + [0] * 5))
    assert found.standard_error > 4 * alone.standard_error


def test_an_accuracy_of_folds_is_their_mean() -> None:
    truth, predicted = ["a"] * 100, ["a"] * 90 + ["b"] * 10
    assert ACCURACY.measure(truth, predicted, [""] * 100, (90, 10)).score == pytest.approx(50)


def test_a_word_error_rate_has_an_error_and_an_interval() -> None:
    found = WER.measure(TRUTH, PREDICTED, [""] * 3)
    assert found.score == pytest.approx(100 * 6 / 8)
    assert 0 <= found.interval[0] < found.score < found.interval[1]
    assert found.units == "3 utterances"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, heard), min_size=1, max_size=5))
def test_error_rates_as_metrics_are_those_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    truth, predicted = map(list, zip(*pairs, strict=True))
    for metric, oracle in ((WER, jiwer.wer), (PER, jiwer.wer), (CER, jiwer.cer)):
        assert metric.score(truth, predicted) == 100 * oracle(truth, predicted)
        # The same score as a sum over utterances: what standard errors and tests are made of.
        outcomes = metric.outcomes(truth, [predicted, truth])
        assert outcomes.values.sum(axis=1) == pytest.approx([metric.score(truth, predicted), 0])
    assert WER.other_metrics(truth, predicted) == {"cer": CER.score(truth, predicted)}


def test_only_texts_without_training_are_tested_by_mapsswe() -> None:
    truth = ["one two three four five"] * 30
    first, second = ["one two three four"] * 20 + truth[20:], truth
    units = sampling_units([""] * 30)
    outcomes = [PER.outcomes(truth, [texts]) for texts in (first, second)]
    loss = difference(*outcomes, units, same_seeds=True)
    words = WER.test_untrained(loss, units, truth, first, second)
    assert (words.name, words.segments) == ("MAPSSWE", 20)
    assert words.p_value == matched_pairs(segment_differences(truth, first, second))
    assert "20 segments, fewer than 50" in words.note
    characters = CER.test_untrained(loss, units, truth, first, second)
    assert (characters.name, characters.segments) == ("MAPSSWE (characters)", 20)
    counted = segment_differences(truth, first, second, "characters")
    assert counted.tolist() == [5] * 20
    assert characters.p_value == matched_pairs(counted)
    for metric in (PER, ACCURACY):
        test = metric.test_untrained(loss, units, truth, first, second)
        assert (test.name, test.segments, test.note) == ("t test over utterances", None, "")
        # Every utterance counts as much: the paired t test over 30 utterances.
        paired = stats.ttest_1samp([20.0] * 20 + [0.0] * 10, 0)
        assert test.p_value == pytest.approx(paired.pvalue)


def test_an_error_rates_interval_may_exceed_100_but_not_fall_below_0() -> None:
    truth, speakers = ["a b"] * 8, list("stuvwxyz")
    many = WER.measure(truth, ["c d e f g"] * 7 + ["a b"], speakers)
    assert many.interval[1] > 100
    few = WER.measure(truth, ["a", *truth[1:]], speakers)
    assert few.interval[0] == 0


def test_errors_by_kind_are_jiwers_and_sum_to_the_rates() -> None:
    truth = ["one two three", "four five", "six"]
    predicted = ["one too three four", "five", ""]
    edits = WER.edits(truth, predicted)
    assert edits["words"] == EditCounts(tokens=6, substitutions=1, deletions=2, insertions=1)
    words = jiwer.process_words(truth, predicted)
    assert words.insertions + words.deletions + words.substitutions == 4
    assert sum(edits["words"].rates()) == pytest.approx(WER.score(truth, predicted))
    assert sum(edits["characters"].rates()) == pytest.approx(CER.score(truth, predicted))
    assert PER.edits(truth, predicted) == {}
    with pytest.raises(ValueError, match="no words among the truths"):
        WER.edits([""], ["a"])


def test_characters_lead_where_most_words_are_wrong() -> None:
    assert WER.companion is CER
    assert CER.companion is PER.companion is ACCURACY.companion is None
    assert [WER.companion_leads(score) for score in (5.0, 60.0, 60.1)] == [False, False, True]
    assert not CER.companion_leads(99.0)
