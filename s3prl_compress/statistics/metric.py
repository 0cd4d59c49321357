"""Metrics as objects: what is counted, in which direction, with which interval and which test."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from .crossed import Estimate, estimate
from .edits import EditCounts
from .outcomes import Outcomes
from .units import Units, sampling_units


@dataclass(frozen=True)
class Measured:
    """A score of one model on one test set, in the metric's unit."""

    score: float
    standard_error: float
    interval: tuple[float, float]
    """95 %."""
    units: str
    """Sampling units of the error: "30 speakers", "240 utterances of 4 speakers"."""


@dataclass(frozen=True)
class PairedTest:
    """The result of a two-sided test of whether two models differ."""

    name: str
    p_value: float
    segments: int | None = None
    """Segments that MAPSSWE compared; None for other tests."""
    note: str = ""
    """A caveat about this p value."""


@dataclass(frozen=True)
class Metric(ABC):
    """A metric: everything that depends on what a score counts.

    A subclass says how every test item contributes to the score (`outcomes`). Standard errors,
    intervals and tests follow from that; a subclass overrides those for which its metric has
    better ones. Create one object per metric and pass it to `register_metric`.
    """

    name: str
    """As in task declarations and records: "accuracy", "WER"."""
    higher_is_better: bool
    unit: str = "percent"
    lowest: float = 0.0
    """Smallest possible score; intervals are cut there."""
    highest: float = 100.0
    """Largest possible score; infinite for error rates, because insertions are not bounded."""

    @property
    def label(self) -> str:
        """The name with its unit, as records hold it: "WER (percent)"."""
        return f"{self.name} ({self.unit})"

    @abstractmethod
    def outcomes(
        self, truth: Sequence[str], predicted: Sequence[Sequence[str]], folds: Sequence[int] = ()
    ) -> Outcomes:
        """Return what every utterance contributes to the score.

        Args:
            truth: [utterances], the label or text of every test utterance.
            predicted: [seeds][utterances], what the models predicted.
            folds: utterances of each cross-validation fold, in their order; empty without folds.
        """

    def score(
        self, truth: Sequence[str], predicted: Sequence[str], folds: Sequence[int] = ()
    ) -> float:
        """Return the score over the whole test set, in the metric's unit."""
        return float(self.outcomes(truth, [predicted], folds).values.sum(axis=1).mean())

    def chance(self, truth: Sequence[str]) -> float | None:
        """Return the score of the best constant prediction; None where that says nothing."""
        return None

    def other_metrics(self, truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
        """Return further scores that a record holds beside this one, by their keys there."""
        return {}

    def edits(self, truth: Sequence[str], predicted: Sequence[str]) -> dict[str, EditCounts]:
        """Return the errors of recognised texts by kind and by unit; none for other predictions."""
        return {}

    @property
    def companion(self) -> Metric | None:
        """A second metric of the same predictions, which is tested beside this one.

        This is for models for which nothing was trained.
        """
        return None

    def companion_leads(self, dense: float) -> bool:
        """Whether the companion is the better guide where the dense model has this score."""
        return False

    def interval(
        self, estimate: Estimate, predictions: int, level: float = 0.95
    ) -> tuple[float, float]:
        """Return the two-sided interval of a score.

        Args:
            estimate: the score with its standard error.
            predictions: number of predictions that it is counted from, those of all seeds.
            level: of confidence.
        """
        return self.within_range(*estimate.interval(level))

    def within_range(self, low: float, high: float) -> tuple[float, float]:
        """Cut an interval at the smallest and at the largest possible score."""
        return max(self.lowest, low), min(self.highest, high)

    def measure(
        self,
        truth: Sequence[str],
        predicted: Sequence[str],
        speakers: Sequence[str],
        folds: Sequence[int] = (),
    ) -> Measured:
        """Return the score of one model with its error, conditional on its one trained head.

        Args:
            truth: [utterances], the label or text of every test utterance.
            predicted: [utterances], what the model predicted.
            speakers: [utterances], who speaks; "" where not known.
            folds: utterances of each cross-validation fold, in their order; empty without folds.
        """
        units = sampling_units(speakers)
        value = estimate(self.outcomes(truth, [predicted], folds), units)
        return Measured(
            self.score(truth, predicted, folds),
            value.standard_error,
            self.interval(value, len(truth)),
            str(units),
        )

    def test_trained(self, difference: Estimate, units: Units) -> PairedTest:
        """Test whether two models differ whose heads were trained from several seeds."""
        name = f"t test with seeds and {_kind(units)} as crossed random effects"
        return PairedTest(name, difference.p_value())

    def test_untrained(
        self,
        difference: Estimate,
        units: Units,
        truth: Sequence[str],
        first: Sequence[str],
        second: Sequence[str],
    ) -> PairedTest:
        """Test whether two models differ for which nothing was trained: only speech varies.

        Args:
            difference: of the two scores, with its error over `units`.
            units: sampling units of the test set.
            truth: [utterances].
            first: [utterances], predictions of one model.
            second: [utterances], predictions of the other.
        """
        return PairedTest(f"t test over {_kind(units)}", difference.p_value())


ENTRY_POINT_GROUP = "s3prl_compress.metrics"
"""Another package names a module here that registers its metrics when it is imported."""

_metrics: dict[str, Metric] = {}


def register_metric(metric: Metric) -> Metric:
    """Make a metric known to tasks and reports by its name, and return it.

    Raises:
        ValueError: another metric has this name.
    """
    if _metrics.setdefault(metric.name, metric) != metric:
        raise ValueError(f"metric {metric.name} is already registered")
    return metric


def find_metric(name: str) -> Metric:
    """Return the metric of this name, from this package or from another installed one.

    Raises:
        ValueError: no metric of this name is registered.
    """
    if name not in _metrics:
        _import_installed()
    if name not in _metrics:
        raise ValueError(f"no metric {name!r}; there are: {', '.join(sorted(_metrics))}")
    return _metrics[name]


def recorded_metric(label: str) -> Metric | None:
    """Return the metric that a record names ("WER (percent)"); None if it is not registered."""
    try:
        return find_metric(re.sub(r" \([^()]*\)$", "", label))
    except ValueError:
        return None


@cache
def _import_installed() -> None:
    """Import the metrics of other packages, once; a broken one must not take a report down."""
    for entry in metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"metrics of {entry.value} are left out: {reason}", stacklevel=3)


def _kind(units: Units) -> str:
    return "speakers" if units.generalises else "utterances"
