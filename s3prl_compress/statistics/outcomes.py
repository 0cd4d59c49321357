"""Outcomes: how much each utterance contributes to a score, for every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[numpy.float64]


@dataclass(frozen=True)
class Outcomes:
    """A score as a sum over utterances."""

    values: Floats
    """[seeds, utterances], in points: the sum over the utterances is a seed's score."""
    weights: Floats
    """[utterances], each one's share of the test set, the same for every model; they sum to 1."""
    step: float
    """In points: the smallest amount by which a seed's score can change."""

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.values)

    def only(self, seeds: Sequence[int]) -> Outcomes:
        """Return the outcomes of the seeds at these positions."""
        return Outcomes(self.values[list(seeds)], self.weights, self.step)


def accuracy_outcomes(correct: ArrayLike, folds: Sequence[int] = ()) -> Outcomes:
    """Return the outcomes of an accuracy.

    Args:
        correct: [seeds, utterances] of 0 and 1.
        folds: utterances of each fold, in their order, where the score is the mean over folds.
    """
    right = numpy.asarray(correct, dtype=numpy.float64)
    sizes = tuple(folds) or (right.shape[1],)
    weights = numpy.repeat([1.0 / (len(sizes) * size) for size in sizes], sizes)
    return Outcomes(100.0 * right * weights, weights, 100.0 * float(weights.min()))


def error_outcomes(errors: ArrayLike, tokens: ArrayLike) -> Outcomes:
    """Return the outcomes of an error rate: all errors over all tokens of the truth.

    Args:
        errors: [seeds, utterances] errors.
        tokens: [utterances] tokens (words, characters, phones) of the truth; not all of them zero.
    """
    counts = numpy.asarray(tokens, dtype=numpy.float64)
    total = float(counts.sum())
    values = 100.0 * numpy.asarray(errors, dtype=numpy.float64) / total
    return Outcomes(values, counts / total, 100.0 / total)
