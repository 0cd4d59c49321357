"""The metrics that come with the package: accuracy and the error rates of texts, in percent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from .crossed import Estimate
from .edits import EditCounts, edit_counts
from .intervals import accuracy_interval
from .mapsswe import FEW_SEGMENTS, TextUnit, matched_pairs, segment_differences
from .metric import Metric, PairedTest, register_metric
from .outcomes import Outcomes, accuracy_outcomes, error_outcomes
from .units import Units

MISLEADING_WER = 60.0
"""Above this word error rate of the dense model, in percent, the character error rate is the better
guide: most words are wrong whatever is lost, and a model that writes less makes fewer insertions.
"""

ErrorCounts = tuple[numpy.ndarray, numpy.ndarray]
"""Errors and reference tokens of every utterance: two [utterances] of int64."""


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of right predictions, in percent."""
    _check_pairs(truth, predicted, "accuracy")
    return 100.0 * sum(map(str.__eq__, truth, predicted)) / len(truth)


def chance(truth: Sequence[str]) -> float:
    """Return the share of the largest class, in percent: the score of a constant prediction."""
    return 100.0 * max(Counter(truth).values()) / len(truth)


def word_error_rate(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return all word errors over all words of the truth, in percent; above 100 is possible.

    The rate is over the corpus, not a mean of the utterances' rates. An empty prediction deletes
    every word.
    """
    return _rate(*word_errors(truth, predicted))


def character_error_rate(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return all character errors over all characters of the truth, in percent; spaces count."""
    return _rate(*character_errors(truth, predicted))


def word_errors(truth: Sequence[str], predicted: Sequence[str]) -> ErrorCounts:
    """Return each utterance's errors and its tokens, which are separated by spaces.

    Errors are substitutions, deletions and insertions of jiwer's minimal alignment.

    Raises:
        ValueError: not one prediction per truth, or no token in any truth.
    """
    import jiwer  # slow to import, and needed only for texts

    _check_pairs(truth, predicted, "word error rate")
    alignments = jiwer.process_words(list(truth), list(predicted)).alignments
    words = numpy.array([len(text.split()) for text in truth])
    if not words.any():
        raise ValueError("no word among the truths: no word error rate")
    return _errors(alignments), words


def character_errors(truth: Sequence[str], predicted: Sequence[str]) -> ErrorCounts:
    """Return each utterance's character errors and its characters; spaces inside a text count.

    Raises:
        ValueError: not one prediction per truth, or no character in any truth.
    """
    import jiwer

    _check_pairs(truth, predicted, "character error rate")
    alignments = jiwer.process_characters(list(truth), list(predicted)).alignments
    characters = numpy.array([len(text.strip()) for text in truth])
    if not characters.any():
        raise ValueError("no character among the truths: no character error rate")
    return _errors(alignments), characters


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of test items with the right label; with folds, the mean over the folds."""

    name: str = "accuracy"
    higher_is_better: bool = True

    def outcomes(
        self, truth: Sequence[str], predicted: Sequence[Sequence[str]], folds: Sequence[int] = ()
    ) -> Outcomes:
        """Count 1 for every right label and 0 for every wrong one."""
        for labels in predicted:
            _check_pairs(truth, labels, self.name)
        right = [list(map(str.__eq__, truth, labels)) for labels in predicted]
        return accuracy_outcomes(right, folds)

    def chance(self, truth: Sequence[str]) -> float:
        """Return the share of the largest class, in percent."""
        return chance(truth)

    def interval(
        self, estimate: Estimate, predictions: int, level: float = 0.95
    ) -> tuple[float, float]:
        """Return Wilson's interval, which has a width even at 0 and 100 %."""
        return accuracy_interval(estimate, predictions, level)


@dataclass(frozen=True)
class ErrorRate(Metric):
    """All errors over all tokens of the truth; several folds are pooled."""

    higher_is_better: bool = False
    highest: float = float("inf")
    count: Callable[[Sequence[str], Sequence[str]], ErrorCounts] = field(kw_only=True)
    """Counts errors and reference tokens of every utterance."""

    def outcomes(
        self, truth: Sequence[str], predicted: Sequence[Sequence[str]], folds: Sequence[int] = ()
    ) -> Outcomes:
        """Count the errors of every utterance, as a share of all tokens of the test set."""
        counts = [self.count(truth, texts) for texts in predicted]
        return error_outcomes(numpy.stack([errors for errors, _ in counts]), counts[0][1])

    def score(
        self, truth: Sequence[str], predicted: Sequence[str], folds: Sequence[int] = ()
    ) -> float:
        """Return all errors over all tokens of the truth, in percent."""
        return _rate(*self.count(truth, predicted))


@dataclass(frozen=True)
class TextErrorRate(ErrorRate):
    """An error rate of texts that consist of words: of words, or of characters."""

    segments_in: TextUnit = field(kw_only=True)
    """What the matched-pairs test counts."""

    def test_untrained(
        self,
        difference: Estimate,
        units: Units,
        truth: Sequence[str],
        first: Sequence[str],
        second: Sequence[str],
    ) -> PairedTest:
        """Test by MAPSSWE, on errors in words or in characters."""
        segments = segment_differences(truth, first, second, self.segments_in)
        name = "MAPSSWE" if self.segments_in == "words" else f"MAPSSWE ({self.segments_in})"
        note = ""
        if len(segments) < FEW_SEGMENTS:
            note = (
                f"{name} on {len(segments)} segments, fewer than {FEW_SEGMENTS}: a rough p value."
            )
        return PairedTest(name, matched_pairs(segments), len(segments), note)


@dataclass(frozen=True)
class WordErrorRate(TextErrorRate):
    """The word error rate, which the character error rate goes with."""

    def other_metrics(self, truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
        """Return the character error rate under the key "cer"."""
        return {"cer": CER.score(truth, predicted)}

    def edits(self, truth: Sequence[str], predicted: Sequence[str]) -> dict[str, EditCounts]:
        """Return the errors by kind, in words and in characters."""
        return edit_counts(truth, predicted)

    @property
    def companion(self) -> Metric:
        """The character error rate."""
        return CER

    def companion_leads(self, dense: float) -> bool:
        """Whether the dense model gets so many words wrong that their number misleads."""
        return dense > MISLEADING_WER


ACCURACY = register_metric(Accuracy())
CER = register_metric(TextErrorRate("CER", count=character_errors, segments_in="characters"))
WER = register_metric(WordErrorRate("WER", count=word_errors, segments_in="words"))
PER = register_metric(ErrorRate("PER", count=word_errors))
"""Phone error rate: texts are phones separated by spaces."""


def _rate(errors: numpy.ndarray, tokens: numpy.ndarray) -> float:
    return 100.0 * float(errors.sum() / tokens.sum())


def _errors(alignments: Sequence[Sequence[Any]]) -> numpy.ndarray:
    """Return the errors of every utterance, out of jiwer's alignments."""
    errors = [
        sum(
            max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
            for part in parts
            if part.type != "equal"
        )
        for parts in alignments
    ]
    return numpy.array(errors)


def _check_pairs(truth: Sequence[str], predicted: Sequence[str], what: str) -> None:
    if not truth or len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} truths and {len(predicted)} predictions: no {what}")
