from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from s3prl_compress.statistics.mapsswe import matched_pairs, segment_differences

# The example of Jurafsky & Martin, Speech and Language Processing (chapter on speech
# recognition, after NIST): four segments, with 2 and 0, 0 and 1, 1 and 2, 1 and 0 errors.
TRUTH = "it was the best of times it was the worst of times it was"
FIRST = "its the best of times it is the worst of times or it was"
SECOND = "it was the best times it won the test of times it was"


def test_mapsswe_on_the_worked_example() -> None:
    differences = segment_differences([TRUTH], [FIRST], [SECOND])
    assert differences.tolist() == [2, -1, -1, 1]
    # By hand: mean 1/4, variance (1.75^2 + 2 x 1.25^2 + 0.75^2) / 3 = 2.25, so that
    # W = 0.25 / (1.5 / sqrt(4)) = 1/3, and the normal distribution leaves 0.7389 beyond it.
    assert matched_pairs(differences) == pytest.approx(0.7389, abs=5e-5)


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
def test_segments_are_cut_where_both_are_right(
    first: str, second: str, differences: list[int]
) -> None:
    assert segment_differences(["a b c d"], [first], [second]).tolist() == differences


def test_segments_add_up_to_all_errors() -> None:
    generator = np.random.default_rng(0)
    truth = [" ".join(generator.choice(list("abcdef"), 12)) for _ in range(30)]

    def hear(rate: float) -> list[str]:
        kept = [[w for w in t.split() if generator.random() > rate] for t in truth]
        return [" ".join(words) for words in kept]

    first, second = hear(0.3), hear(0.1)
    deleted = [sum(len(heard.split()) for heard in one) for one in (first, second)]
    differences = segment_differences(truth, first, second)
    assert differences.sum() == deleted[1] - deleted[0]


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


@pytest.mark.parametrize(
    ("first", "second", "differences"),
    [
        ("aa bb cc dd", "aa bb cc dd", []),
        ("ax bb cc xd", "aa bb cc dd", [1, 1]),  # two right words between: two segments
        ("ax bb xc dx", "aa bb cc dd", [3]),  # one right word between: one segment
        ("ax bb xcc dx", "aa bb cc dd", [3]),  # an insertion into the second word
        ("xabb cc dx", "aa bb cc dd", [3]),  # the space before the two words is missing
        ("aa bb cc dx", "xa bb cc dd", [-1, 1]),
        ("", "aa bb cc dd", [11]),
    ],
)
def test_segments_of_characters_are_cut_at_whole_words(
    first: str, second: str, differences: list[int]
) -> None:
    found = segment_differences(["aa bb cc dd"], [first], [second], "characters")
    assert found.tolist() == differences


def test_words_of_one_letter_have_the_segments_of_words() -> None:
    """Where no word can be partly wrong, both ways of counting agree on substitutions."""
    generator = np.random.default_rng(2)
    truth = [" ".join(generator.choice(list("abcdef"), 30)) for _ in range(20)]

    def hear(rate: float) -> list[str]:
        return [
            " ".join("x" if generator.random() < rate else word for word in text.split())
            for text in truth
        ]

    first, second = hear(0.2), hear(0.1)
    words, characters = (
        segment_differences(truth, first, second, count) for count in ("words", "characters")
    )
    assert words.tolist() == characters.tolist()
