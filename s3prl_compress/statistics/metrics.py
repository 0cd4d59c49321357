"""Figures of merit with their errors, in percent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from . import accuracy_interval, accuracy_outcomes, estimate, sampling_units, word_outcomes


@dataclass(frozen=True)
class Measured:
    """A score of one model on one test set, in percent."""

    score: float
    standard_error: float
    interval: tuple[float, float]
    """95 %."""
    units: str
    """What the error is over: "30 speakers", "240 utterances of 4 speakers", "240 utterances"."""


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of right predictions, in percent."""
    _check_pairs(truth, predicted, "accuracy")
    return 100.0 * sum(map(str.__eq__, truth, predicted)) / len(truth)


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


def measure_accuracy(
    truth: Sequence[str],
    predicted: Sequence[str],
    speakers: Sequence[str],
    folds: Sequence[int] = (),
) -> Measured:
    """Return an accuracy with its error, conditional on the one trained head.

    Args:
        truth: class of every test utterance.
        predicted: what a model says.
        speakers: of every utterance; "" where not known.
        folds: utterances of each fold, in their order, where the score is the mean over folds.
    """
    _check_pairs(truth, predicted, "accuracy")
    outcomes = accuracy_outcomes([list(map(str.__eq__, truth, predicted))], folds)
    units = sampling_units(speakers)
    found = estimate(outcomes, units)
    interval = accuracy_interval(found, len(truth))
    return Measured(found.value, found.standard_error, interval, str(units))


def measure_words(
    truth: Sequence[str], predicted: Sequence[str], speakers: Sequence[str]
) -> Measured:
    """Return a word error rate with its error, conditional on the one model; as above."""
    errors, words = word_errors(truth, predicted)
    units = sampling_units(speakers)
    found = estimate(word_outcomes(errors[numpy.newaxis], words), units)
    low, high = found.interval()
    return Measured(
        word_error_rate(truth, predicted), found.standard_error, (max(0.0, low), high), str(units)
    )


def _check_pairs(truth: Sequence[str], predicted: Sequence[str], what: str) -> None:
    if not truth or len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} truths and {len(predicted)} predictions: no {what}")
