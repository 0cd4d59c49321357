"""Is a compressed upstream's score really another one than its dense upstream's?

Both are tested on the same utterances, so every test here is of pairs. Several seeds are several
heads on the same utterances, and never further utterances: their errors are summed per utterance
(per segment), and the utterances (segments) alone count as independent. With one seed the tests
are the well-known ones. The heads are taken as they were trained: what other seeds would have
given shows in the spread over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from .metrics import resampled_sums, word_errors

PAIRED_DRAWS = 4_000
"""Resamples of the paired bootstrap."""

FEW_SEGMENTS = 50
"""Below so many segments MAPSSWE's normal approximation is rough (Gillick & Cox 1989)."""

Seeds = Sequence[Sequence[str]]
"""Predictions of every utterance, for every seed."""


@dataclass(frozen=True)
class Comparison:
    """A paired test of two upstreams, the first against the second."""

    test: str
    """Name of the test that `p_value` is of."""
    p_value: float
    """Two-sided, not corrected for other comparisons."""
    units: int
    """Utterances (segments) that the two differ on, or may: those that the test rests on."""
    interval: tuple[float, float]
    """95 % interval of the difference first - second by paired bootstrap, in percent."""
    bootstrap_p: float
    """Two-sided p value of the paired bootstrap."""


def compare_classes(
    truth: Sequence[str], first: Seeds, second: Seeds, folds: Sequence[int] = ()
) -> Comparison:
    """Compare two classifiers by McNemar's exact test, generalised to several seeds.

    Args:
        truth: class of every test utterance.
        first: predicted classes, for every seed; `second` for the same seeds.
        second: of the other classifier.
        folds: test utterances of each fold, where the score is a mean of folds.
    """
    wrong = [
        numpy.sum([[p != t for p, t in zip(one, truth, strict=True)] for one in seeds], axis=0)
        for seeds in (first, second)
    ]
    differences = wrong[0] - wrong[1]
    interval, bootstrap_p = paired_bootstrap(
        -wrong[0], -wrong[1], numpy.full(len(truth), len(first)), folds or (len(truth),)
    )
    return Comparison(
        test="exact McNemar" if len(first) == 1 else "exact permutation over utterances",
        p_value=exact_permutation(differences),
        units=int(numpy.count_nonzero(differences)),
        interval=interval,
        bootstrap_p=bootstrap_p,
    )


def compare_words(truth: Sequence[str], first: Seeds, second: Seeds) -> Comparison:
    """Compare two recognisers by MAPSSWE and by paired bootstrap; arguments as above."""
    counts = [[word_errors(truth, one) for one in seeds] for seeds in (first, second)]
    errors = [numpy.sum([wrong for wrong, _ in seeds], axis=0) for seeds in counts]
    words = counts[0][0][1] * len(first)
    interval, bootstrap_p = paired_bootstrap(errors[0], errors[1], words, (len(truth),))
    segments = segment_differences(truth, first, second)
    return Comparison(
        test="MAPSSWE",
        p_value=matched_pairs(segments),
        units=len(segments),
        interval=interval,
        bootstrap_p=bootstrap_p,
    )


def exact_permutation(differences: numpy.ndarray) -> float:
    """Return the two-sided p value of a sum of paired differences, exactly.

    Under the null hypothesis the two are exchangeable on every utterance: each difference may as
    well have the other sign. P(|S| >= |s|) over all sign flips, by convolution: of n differences
    of size k, k B with B ~ binomial(n, 1/2) is the positive part. With differences of -1, 0, 1
    (one seed) this is McNemar's exact test.

    Args:
        differences: [utterances], whole numbers.
    """
    from scipy.stats import binom

    sizes, counts = numpy.unique(numpy.abs(differences), return_counts=True)
    positive = numpy.ones(1)  # probability of each sum of the positive differences
    for size, count in zip(sizes, counts, strict=True):
        if size > 0:
            spread = numpy.zeros(size * count + 1)
            spread[::size] = binom.pmf(numpy.arange(count + 1), count, 0.5)
            positive = numpy.convolve(positive, spread)
    sums = 2 * numpy.arange(len(positive)) - (len(positive) - 1)
    return min(1.0, float(positive[numpy.abs(sums) >= abs(differences.sum())].sum()))


def segment_differences(truth: Sequence[str], first: Seeds, second: Seeds) -> numpy.ndarray:
    """Return errors of the first less errors of the second in every segment with an error.

    Segments after Gillick & Cox (1989) and NIST: an utterance is cut wherever every system has at
    least two consecutive words right, nothing inserted between them. The alignments are jiwer's.
    """
    systems = [*first, *second]
    marks = [_error_places(truth, one) for one in systems]
    signs = numpy.array([1] * len(first) + [-1] * len(second))
    differences: list[int] = []
    for utterance in range(len(truth)):
        errors = numpy.stack([system[utterance] for system in marks])  # [systems, places]
        (places,) = numpy.nonzero(errors.any(axis=0))
        if len(places) == 0:
            continue
        # Between neighbouring places with errors all is right; words stand at odd places.
        words_between = places[1:] // 2 - (places[:-1] + 1) // 2
        starts = numpy.concatenate([[0], numpy.flatnonzero(words_between >= 2) + 1])
        differences += numpy.add.reduceat((signs @ errors)[places], starts).tolist()
    return numpy.array(differences, dtype=int)


def _error_places(truth: Sequence[str], predicted: Sequence[str]) -> list[numpy.ndarray]:
    """Return each utterance's errors by place: gap, word, gap, ..., word, gap [2 words + 1]."""
    import jiwer

    result = []
    alignments = jiwer.process_words(list(truth), list(predicted)).alignments
    for text, parts in zip(truth, alignments, strict=True):
        errors = numpy.zeros(2 * len(text.split()) + 1, dtype=int)
        for part in parts:
            if part.type == "insert":
                errors[2 * part.ref_start_idx] += part.hyp_end_idx - part.hyp_start_idx
            elif part.type != "equal":
                errors[2 * part.ref_start_idx + 1 : 2 * part.ref_end_idx : 2] += 1
        result.append(errors)
    return result


def matched_pairs(differences: numpy.ndarray) -> float:
    """Return the two-tailed p value of MAPSSWE from the segments' differences.

    W = mean / (standard deviation / sqrt(n)) against the normal distribution (Gillick & Cox 1989,
    section 4). Where all segments differ by the same number there is no deviation to divide by:
    then it is the sign test's 2^(1 - n).
    """
    count, mean = len(differences), float(differences.mean()) if len(differences) else 0.0
    if mean == 0:
        return 1.0
    deviation = float(differences.std(ddof=1)) if count > 1 else 0.0
    if deviation == 0:
        return 2.0 ** (1 - count)
    return math.erfc(abs(mean) / (deviation / math.sqrt(count)) / math.sqrt(2))


def paired_bootstrap(
    first: numpy.ndarray,
    second: numpy.ndarray,
    units: numpy.ndarray,
    folds: Sequence[int],
    *,
    draws: int = PAIRED_DRAWS,
    seed: int = 0,
) -> tuple[tuple[float, float], float]:
    """Return the 95 % interval of a difference of rates, in percent, and its two-sided p value.

    Both systems are counted over the same resampled utterances (Bisani & Ney 2004); with folds,
    utterances are drawn within each and the folds' differences averaged.

    Args:
        first: [utterances] counts (errors, or right ones with a minus) of the first system.
        second: of the second.
        units: [utterances] what the counts are out of (words, or one per seed).
        folds: how many utterances each fold has, in their order.
        draws: resamples.
        seed: of the draws.
    """
    figures = numpy.stack([first - second, units])
    parts = numpy.split(figures, numpy.cumsum(folds)[:-1], axis=1)
    sums = [resampled_sums(part, draws=draws, seed=seed + n) for n, part in enumerate(parts)]
    drawn = numpy.mean([100.0 * difference / whole for difference, whole in sums], axis=0)
    low, high = numpy.percentile(drawn, [2.5, 97.5])
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return (float(low), float(high)), min(1.0, 2.0 * float(smaller + 1) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values corrected for their number after Holm (1979): family-wise error."""
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return []
    corrected = multipletests(list(p_values), method="holm")[1]
    return [float(value) for value in corrected]
