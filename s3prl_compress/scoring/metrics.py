"""Figures of merit, in percent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of right predictions, in percent."""
    if not truth or len(truth) != len(predicted):
        raise ValueError(f"{len(truth)} truths and {len(predicted)} predictions: no accuracy")
    return 100.0 * sum(map(str.__eq__, truth, predicted)) / len(truth)


def binomial_standard_error(percent: float, count: int) -> float:
    """Return the standard error of an accuracy over `count` utterances, in percent.

    100 sqrt(p (1 - p) / n), the binomial's; p = percent / 100.
    """
    share = percent / 100.0
    return 100.0 * math.sqrt(share * (1.0 - share) / count)


def chance(truth: Sequence[str]) -> float:
    """Return the share of the largest class, in percent: what a constant answer would score."""
    return 100.0 * max(Counter(truth).values()) / len(truth)
