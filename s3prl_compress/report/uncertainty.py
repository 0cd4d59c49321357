"""Standard errors of a block's scores, and the tests of its rows against dense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from ..results.predictions import Predictions, read_block
from ..results.records import ScoreRecord
from ..statistics import Estimate, difference, estimate, holm
from .roles import reference_of
from .rows import Row, Significance

LEVEL = 0.05
"""Corrected p values below it are called significant."""

NO_PREDICTIONS = (
    "Its prediction files are missing: the standard error is that of its records, and nothing was "
    "tested."
)
UNKNOWN_METRIC = (
    "Its metric is not registered: the standard error is that of its records, and nothing was "
    "tested."
)
DENSE_WITHOUT_PREDICTIONS = "Not tested: the predictions of its dense upstream are missing."
OTHER_UTTERANCES = "Not tested: its predictions and those of dense are of different utterances."
ONE_SEED = "one seed"
NOT_RESOLVED = "not resolved"
SIGNIFICANT = "significant"


def with_errors(
    rows: Sequence[Row],
    cells: Sequence[Sequence[ScoreRecord]],
    predictions: Sequence[Predictions | None] | None = None,
) -> list[Row]:
    """Return a block's rows with the errors of their scores and their `significance`.

    A row's error and interval are over its seeds and over speakers (see `statistics`). Its
    difference from its dense upstream is taken over the seeds that both have, pair by pair, where
    these are two or more; over two independent samples of seeds where each has two or more; and is
    not tested where one of them has a single seed. Where nothing is trained, the metric chooses the
    test. `p_corrected` is Holm's over all tested rows of the block; `detectable` is the
    smallest difference that is detected with a power of 80 % after correction.

    Args:
        rows: of one block, their roles filled in.
        cells: the records that each row was merged from, one per seed.
        predictions: of each row, as `read_block` returns them; None: they are read here.
    """
    if predictions is None:
        predictions = read_block(cells)

    def plain(own: int, dense: int) -> float:
        return _plain_difference(cells[own], cells[dense])

    return tested_rows(rows, predictions, plain)


def tested_rows(
    rows: Sequence[Row],
    predictions: Sequence[Predictions | None],
    plain_difference: Callable[[int, int], float],
) -> list[Row]:
    """Return a block's rows with the errors of their scores and their `significance`.

    Args:
        rows: of one block, their roles filled in.
        predictions: of each row; None where they are missing.
        plain_difference: returns the difference of the rows at two places, for those that cannot be
            tested.
    """
    places = {id(row): place for place, row in enumerate(rows)}
    scored = [_with_own_error(row, own) for row, own in zip(rows, predictions, strict=True)]
    estimates: dict[int, Estimate] = {}
    for place, (row, own) in enumerate(zip(rows, predictions, strict=True)):
        reference = reference_of(row, rows)
        if reference is None or reference is row:
            continue
        dense_place = places[id(reference)]
        untested = Significance(difference=plain_difference(place, dense_place))
        scored[place] = replace(scored[place], significance=untested)
        if own is None:
            continue
        dense = predictions[dense_place]
        if dense is None or not own.same_utterances(dense):
            note = DENSE_WITHOUT_PREDICTIONS if dense is None else OTHER_UTTERANCES
            scored[place] = replace(scored[place], notes=(*scored[place].notes, note))
            continue
        compared = _compare(own, dense)
        if compared is None:
            untested = replace(untested, resolution=ONE_SEED)
            scored[place] = replace(scored[place], significance=untested)
        else:
            estimates[place], significance, note = compared
            notes = (*scored[place].notes, *filter(None, [note]))
            scored[place] = replace(scored[place], significance=significance, notes=notes)
    return _corrected(scored, estimates)


def with_score_error(row: Row, own: Predictions, level: float = 0.95) -> tuple[Row, Estimate]:
    """Return a row with the error of its score, from its predictions, and the estimate itself.

    `level` is that of the score's two-sided interval.
    """
    value = estimate(own.outcomes, own.units)
    low, high = own.metric.interval(value, own.outcomes.values.size, level)
    row = replace(
        row,
        standard_error=value.standard_error,
        score_low=low,
        score_high=high,
        error_units=str(own.units),
        error_speakers=own.units.speakers,
        over_speakers=own.units.generalises,
    )
    return row, value


def _plain_difference(own: Sequence[ScoreRecord], dense: Sequence[ScoreRecord]) -> float:
    """Return the difference of two rows from their records' scores, in points.

    It is the mean over the seeds that both have; without a common seed, the difference of the two
    means. Where the difference is tested, it is taken from the seeds of the test instead.
    """
    scores, dense_scores = ({one.seed: one.score for one in cell} for cell in (own, dense))
    common = [seed for seed in scores if seed in dense_scores]
    if common:
        return fmean(scores[seed] - dense_scores[seed] for seed in common)
    return fmean(scores.values()) - fmean(dense_scores.values())


def _compare(own: Predictions, dense: Predictions) -> tuple[Estimate, Significance, str] | None:
    """Return a difference, its uncorrected test and a note; None where one seed is too few."""
    common = [seed for seed in own.seeds if seed in dense.predicted]
    trained = None not in own.predicted
    in_pairs = len(common) >= (2 if trained else 1)
    if not in_pairs and min(len(own.seeds), len(dense.seeds)) < 2:
        return None
    value = difference(
        own.of_seeds(common if in_pairs else own.seeds),
        dense.of_seeds(common if in_pairs else dense.seeds),
        own.units,
        same_seeds=in_pairs,
    )
    seeds = None
    if trained:
        test = own.metric.test_trained(value, own.units)
        seeds = str(len(common)) if in_pairs else f"{len(own.seeds)} + {len(dense.seeds)}"
    else:
        predicted = own.predicted[None], dense.predicted[None]
        test = own.metric.test_untrained(value, own.units, own.truth, *predicted)
    low, high = value.interval()
    significance = Significance(
        difference=value.value,
        difference_error=value.standard_error,
        difference_low=low,
        difference_high=high,
        degrees_of_freedom=value.degrees_of_freedom,
        p_value=test.p_value,
        p_test=test.name,
        p_seeds=seeds,
        p_segments=test.segments,
    )
    return value, significance, test.note


def _corrected(rows: Sequence[Row], estimates: dict[int, Estimate]) -> list[Row]:
    """Return the rows with their p values corrected for the number of tested ones."""
    p_values = {place: rows[place].significance.p_value for place in estimates}
    corrected = holm([value for value in p_values.values() if value is not None])
    tested = dict(zip(estimates, corrected, strict=True))
    return [
        row
        if place not in tested
        else replace(
            row,
            significance=replace(
                row.significance,
                p_corrected=tested[place],
                compared_rows=len(tested),
                significant=tested[place] < LEVEL,
                resolution=SIGNIFICANT if tested[place] < LEVEL else NOT_RESOLVED,
                detectable=estimates[place].detectable(LEVEL / len(tested)),
            ),
        )
        for place, row in enumerate(rows)
    ]


def _with_own_error(row: Row, own: Predictions | None) -> Row:
    if own is not None:
        return with_score_error(row, own)[0]
    note = UNKNOWN_METRIC if row.metric_object is None else NO_PREDICTIONS
    return replace(row, notes=(*row.notes, note))
