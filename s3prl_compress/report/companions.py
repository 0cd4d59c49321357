"""A second metric beside the first: character errors beside word errors, tested in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..results.predictions import Predictions
from ..statistics import recorded_metric
from .rows import Companion, Row, Significance
from .uncertainty import tested_rows


def with_companions(rows: Sequence[Row], predictions: Sequence[Predictions | None]) -> list[Row]:
    """Return a block's rows with their scores by the companion of their metric.

    Only where nothing was trained. Errors and tests are made as for the metric itself, and are
    corrected for the number of rows in the same way. Where the dense model is so poor that the
    companion is the better guide, the two change places; see `Metric.companion_leads`.

    Args:
        rows: of one block, with the errors of their own metric.
        predictions: of each row; None where they are missing. Such a row has no companion.
    """
    metric = rows[0].metric_object
    companion = None if metric is None or rows[0].trained else metric.companion
    if metric is None or companion is None:
        return list(rows)
    counted = [None if one is None else one.under(companion) for one in predictions]
    known = [place for place, own in enumerate(counted) if own is not None]
    others = [counted_row(rows[place], own) for place, own in enumerate(counted) if own is not None]
    tested = tested_rows(
        others,
        [counted[place] for place in known],
        lambda own, dense: others[own].score - others[dense].score,
    )
    result = list(rows)
    for place, other in zip(known, tested, strict=True):
        notes = (*result[place].notes, *(n for n in other.notes if n not in result[place].notes))
        result[place] = replace(result[place], notes=notes, companion=_as_companion(other))
    dense_scores = [row.score for row in result if row.reference] or [row.score for row in result]
    if len(known) < len(rows) or not metric.companion_leads(min(dense_scores)):
        return result
    return [with_companion_first(row) for row in result]


def with_companion_first(row: Row) -> Row:
    """Return a row with its score and its companion's in each other's place."""
    companion = row.companion
    if companion is None:
        return row
    return replace(
        row,
        conditions=replace(row.conditions, metric=companion.metric),
        metric=companion.metric,
        score=companion.score,
        standard_error=companion.standard_error,
        score_low=companion.score_low,
        score_high=companion.score_high,
        significance=companion.significance,
        companion=_as_companion(row),
    )


def leads_as_companion(row: Row) -> bool:
    """Whether the row's own metric is the companion of the one that it was recorded with."""
    first = None if row.companion is None else recorded_metric(row.companion.metric)
    return first is not None and first.companion == row.metric_object


def counted_row(row: Row, own: Predictions) -> Row:
    """Return a row with the score of its predictions by their metric, not yet tested."""
    score = float(own.outcomes.values.sum(axis=1).mean())
    return replace(row, metric=own.metric.label, score=score, notes=(), significance=Significance())


def _as_companion(row: Row) -> Companion:
    return Companion(
        row.metric,
        row.score,
        row.standard_error,
        row.score_low,
        row.score_high,
        row.significance,
    )
