"""Figures of merit with their errors, in percent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy

BOOTSTRAP_DRAWS = 10_000
"""Resamples of a bootstrap: its 95 % ends then rest on 250 resamples each."""

_NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of right predictions, in percent."""
    _check_pairs(truth, predicted, "accuracy")
    return 100.0 * sum(map(str.__eq__, truth, predicted)) / len(truth)


def binomial_standard_error(percent: float, count: int) -> float:
    """Return the standard error of an accuracy over `count` utterances, in percent.

    100 sqrt(p (1 - p) / n), the binomial's; p = percent / 100.
    """
    share = percent / 100.0
    return 100.0 * math.sqrt(share * (1.0 - share) / count)


def wilson_interval(percent: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy over `count` utterances, in percent.

    Wilson's score interval (Wilson 1927). Unlike the binomial error it has a width at 0 and 100 %
    and never leaves that range.
    """
    share, squared = percent / 100.0, _NORMAL_95**2
    middle = share + squared / (2 * count)
    half = _NORMAL_95 * math.sqrt(share * (1 - share) / count + squared / (4 * count**2))
    whole = 1 + squared / count
    low = 100.0 * max(0.0, (middle - half) / whole)
    high = 100.0 * min(1.0, (middle + half) / whole)
    return min(low, percent), max(high, percent)


def chance(truth: Sequence[str]) -> float:
    """Return the share of the largest class, in percent: what a constant answer would score."""
    return 100.0 * max(Counter(truth).values()) / len(truth)


def word_error_rate(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return all word errors over all words of the truth, in percent; above 100 is possible.

    Over the corpus, never a mean of the utterances' rates. An empty prediction deletes every word.
    """
    errors, words = word_errors(truth, predicted)
    return 100.0 * float(errors.sum() / words.sum())


def character_error_rate(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return all character errors over all characters of the truth, in percent; spaces count."""
    import jiwer

    _check_pairs(truth, predicted, "character error rate")
    return 100.0 * float(jiwer.cer(list(truth), list(predicted)))


def word_errors(truth: Sequence[str], predicted: Sequence[str]) -> tuple[numpy.ndarray, ...]:
    """Return each utterance's word errors and its words of truth: two [utterances] of int64.

    Errors are substitutions, deletions and insertions of jiwer's minimal alignment.
    """
    import jiwer  # takes a while to import, and only speech recognition needs it

    _check_pairs(truth, predicted, "word error rate")
    alignments = jiwer.process_words(list(truth), list(predicted)).alignments
    errors = [
        sum(
            max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
            for part in parts
            if part.type != "equal"
        )
        for parts in alignments
    ]
    words = numpy.array([len(text.split()) for text in truth])
    if not words.any():
        raise ValueError("no word among the truths: no word error rate")
    return numpy.array(errors), words


def bootstrap_wer(
    truth: Sequence[str],
    predicted: Sequence[str],
    *,
    draws: int = BOOTSTRAP_DRAWS,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Return the standard error of a word error rate and its 95 % interval, in percent.

    Utterances are drawn with replacement `draws` times (Bisani & Ney 2004): words of an utterance
    are not independent, utterances are taken to be. The interval is the percentiles'.
    """
    errors, words = word_errors(truth, predicted)
    drawn = resampled_sums(numpy.stack([errors, words]), draws=draws, seed=seed)
    rates = 100.0 * drawn[0] / drawn[1]
    low, high = numpy.percentile(rates, [2.5, 97.5])
    return float(rates.std(ddof=1)), (float(low), float(high))


def resampled_sums(values: numpy.ndarray, *, draws: int, seed: int) -> numpy.ndarray:
    """Return the sums of `draws` resamples of utterances: [quantities, draws].

    Args:
        values: [quantities, utterances]; all quantities are summed over the same resample.
        draws: how many resamples, each of as many utterances as there are.
        seed: of the draws; the same seed draws the same utterances.
    """
    kinds, counts = numpy.unique(values, axis=1, return_counts=True)
    total = int(counts.sum())
    # Utterances with equal figures are one kind: how often each kind is drawn is multinomial.
    drawn = numpy.random.default_rng(seed).multinomial(total, counts / total, size=draws)
    return numpy.asarray(kinds @ drawn.T)


def _check_pairs(truth: Sequence[str], predicted: Sequence[str], what: str) -> None:
    if not truth or len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} truths and {len(predicted)} predictions: no {what}")
