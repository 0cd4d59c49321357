"""Comparison of two upstreams by their records: how much one loses against the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import InputError
from ..results.predictions import Predictions, read_block
from ..results.records import ScoreRecord
from ..statistics import (
    TWO_SIDED,
    Estimate,
    Verdict,
    difference,
    estimate,
    judge,
    overall,
    seeds_needed,
    units_needed,
)
from .companions import counted_row
from .merge import merge
from .rows import Row
from .uncertainty import with_score_error


@dataclass(frozen=True)
class Condition:
    """A value with its one-sided 95 % bounds, and whether it is shown to stay within a limit."""

    value: float
    """In percent, or in points for a difference."""
    standard_error: float
    low: float
    high: float
    limit: float | None
    verdict: Verdict
    seeds: int | None
    """Number of seeds that would resolve it on this test set; see `seeds_needed`. None where it is
    resolved already, too."""
    units: float | None
    """Factor by which a larger test set would resolve it with these seeds; see `units_needed`."""


@dataclass(frozen=True)
class CompanionComparison:
    """Two upstreams by a second metric."""

    row: Row
    dense_row: Row
    loss: Estimate
    """In points; positive where the model is worse."""


@dataclass(frozen=True)
class Comparison:
    """A model against its dense upstream, on the same utterances and with the same seeds."""

    row: Row
    """The model's row, as in a table."""
    dense_row: Row
    score: Condition
    """The model's own score."""
    loss: Condition
    """In points; positive where the model is worse."""
    seeds: tuple[int, ...]
    """Empty where nothing was trained."""
    companion: CompanionComparison | None = None
    """The same by the second metric of the predictions, without a verdict; see
    `statistics.Metric.companion`."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on both conditions together."""
        return overall(self.loss.verdict, self.score.verdict)


def compare(
    records: Sequence[ScoreRecord],
    dense_records: Sequence[ScoreRecord],
    folder: Path,
    *,
    margin: float,
    minimum: float | None = None,
) -> Comparison:
    """Test whether a model loses less than a margin against another one.

    Where nothing was trained and the other model is so poor that a second metric is the better
    guide (`statistics.Metric.companion_leads`), the limits are those of the second metric.

    Args:
        records: the model's: one for each seed, at least two; or one, where nothing was trained.
        dense_records: those of the other model, with the same seeds in the same order.
        folder: where the records and their predictions are.
        margin: largest tolerated loss, in points.
        minimum: lowest tolerated score in percent; for error rates the highest.

    Raises:
        InputError: predictions are missing, or not of the same utterances.
    """
    cells = [_located(own, folder) for own in (records, dense_records)]
    row, dense_row = map(merge, cells)
    own, dense = read_block(cells)
    if own is None or dense is None or not own.same_utterances(dense):
        raise InputError(
            f"{folder}: the predictions beside the records of {row.upstream} and "
            f"{dense_row.upstream} are not of the same utterances; delete these records and "
            "score again"
        )
    companion = None
    metric = row.metric_object
    if metric is not None and metric.companion is not None and None in own.predicted:
        other, other_dense = own.under(metric.companion), dense.under(metric.companion)
        other_row, other_dense_row = counted_row(row, other), counted_row(dense_row, other_dense)
        if metric.companion_leads(estimate(dense.outcomes, dense.units).value):
            row, other_row = other_row, row
            dense_row, other_dense_row = other_dense_row, dense_row
            own, other, dense, other_dense = other, own, other_dense, dense
        companion = CompanionComparison(
            row=with_score_error(other_row, other, TWO_SIDED)[0],
            dense_row=with_score_error(other_dense_row, other_dense, TWO_SIDED)[0],
            loss=_loss(other, other_dense, row, dense_row),
        )
    row, score = with_score_error(row, own, TWO_SIDED)
    dense_row, _ = with_score_error(dense_row, dense, TWO_SIDED)
    higher = row.higher_is_better
    loss = _loss(own, dense, row, dense_row)
    return Comparison(
        row=row,
        dense_row=dense_row,
        score=_condition(score, (row.score_low, row.score_high), minimum, above=higher),
        loss=_condition(loss, loss.interval(TWO_SIDED), margin, above=False),
        seeds=tuple(seed for seed in own.seeds if seed is not None),
        companion=companion,
    )


def larger_test_set(comparison: Comparison, factor: float) -> tuple[int, int | None]:
    """Return the utterances and the speakers of a test set that is larger by this factor.

    The speakers are None where errors are not over speakers.
    """
    row = comparison.row
    speakers = math.ceil(factor * (row.error_speakers or 0)) if row.over_speakers else None
    return math.ceil(factor * row.test_size), speakers


def _located(records: Sequence[ScoreRecord], folder: Path) -> list[ScoreRecord]:
    """Let records name their predictions by whole paths."""
    return [
        record.model_copy(update={"predictions": str(folder / record.predictions)})
        for record in records
    ]


def _loss(own: Predictions, dense: Predictions, row: Row, dense_row: Row) -> Estimate:
    better, worse = (dense, own) if row.higher_is_better else (own, dense)
    loss = difference(better.outcomes, worse.outcomes, own.units, same_seeds=True)
    if row.checkpoint_sha256 == dense_row.checkpoint_sha256:
        return replace(loss, value=0.0, standard_error=0.0)  # the same weights lose nothing
    return loss


def _condition(
    value: Estimate, bounds: tuple[float, float], limit: float | None, *, above: bool
) -> Condition:
    """Judge a value that must stay below (or above) a limit; without a limit it passes."""
    low, high = bounds
    verdict: Verdict = "passed"
    if limit is not None:
        verdict = judge(-high, -low, -limit) if above else judge(low, high, limit)
    open_limit = limit if verdict == "not resolved" else None
    return Condition(
        value.value,
        value.standard_error,
        low,
        high,
        limit,
        verdict,
        seeds=None if open_limit is None else seeds_needed(value, open_limit),
        units=None if open_limit is None else units_needed(value, open_limit),
    )
