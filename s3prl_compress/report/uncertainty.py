"""Errors of a block's scores, and whether rows differ from dense: one analysis for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..results.predictions import Predictions, read_block
from ..statistics import Estimate, difference, estimate, holm, recorded_metric
from .rows import reference_of

ERROR_COLUMNS = (
    "error_units",
    "error_speakers",
    "over_speakers",
    "difference_error",
    "difference_low",
    "difference_high",
    "degrees_of_freedom",
    "p_value",
    "p_corrected",
    "p_test",
    "p_seeds",
    "p_segments",
    "compared_rows",
    "significant",
    "detectable",
    "resolution",
)
LEVEL = 0.05
"""A corrected p value below it is called significant."""

NO_PREDICTIONS = (
    "Its predictions are missing beside its records: the error is that of the records, and nothing "
    "was tested."
)
UNKNOWN_METRIC = (
    "Its metric is not registered here: the error is that of the records, and nothing was tested."
)
DENSE_WITHOUT_PREDICTIONS = "Not tested: the predictions of its dense upstream are missing."
OTHER_UTTERANCES = "Not tested: its predictions and dense's are not of the same utterances."
ONE_SEED = "one seed"
NOT_RESOLVED = "not resolved"
SIGNIFICANT = "significant"


def attach_errors(rows: list[dict[str, Any]]) -> None:
    """Fill in the scores' errors and `ERROR_COLUMNS` of a block's rows, in place.

    A row's error and interval are over its seeds and over speakers (see `statistics`). Its
    difference from its dense upstream is taken over the seeds that both have, pair by pair, where
    these are two or more; over two independent samples of seeds where each has two or more; and is
    not tested where one of them has a single seed. On `ctc`, where nothing is trained, p is
    MAPSSWE's. `p_corrected` is Holm's over all tested rows of the block; `detectable` is the
    smallest difference that would have been found with a power of 80 % after correction.
    """
    read = read_block(rows)
    for row, own in zip(rows, read, strict=True):
        row.update(dict.fromkeys(ERROR_COLUMNS))
        row["resolution"] = ""
        if own is None:
            known = recorded_metric(row["metric"]) is not None
            row["notes"] = (*row["notes"], NO_PREDICTIONS if known else UNKNOWN_METRIC)
        else:
            attach_score(row, own)
    tested: list[tuple[dict[str, Any], Estimate]] = []
    for row, own in zip(rows, read, strict=True):
        reference = reference_of(row, rows)
        if own is None or reference is None or reference is row:
            continue
        other = next(found for one, found in zip(rows, read, strict=True) if one is reference)
        if other is None or not own.same_utterances(other):
            note = DENSE_WITHOUT_PREDICTIONS if other is None else OTHER_UTTERANCES
            row["notes"] = (*row["notes"], note)
            continue
        found = _compare(row, own, other)
        if found is None:
            row["resolution"] = ONE_SEED
        else:
            tested.append((row, found))
    _correct(tested)


def attach_score(row: dict[str, Any], own: Predictions, level: float = 0.95) -> Estimate:
    """Fill in the error of a row's score, its two-sided interval, and what both are over."""
    found = estimate(own.outcomes, own.units)
    row["standard_error"] = found.standard_error
    interval = own.metric.interval(found, own.outcomes.values.size, level)
    row["score_low"], row["score_high"] = interval
    row["error_units"] = str(own.units)
    row["error_speakers"] = own.units.speakers
    row["over_speakers"] = own.units.generalises
    return found


def _compare(row: dict[str, Any], own: Predictions, dense: Predictions) -> Estimate | None:
    """Fill in the difference with its error and p value; None where one seed is too few."""
    common = [seed for seed in own.seeds if seed in dense.predicted]
    trained = None not in own.predicted
    paired = len(common) >= (2 if trained else 1)
    if not paired and min(len(own.seeds), len(dense.seeds)) < 2:
        return None
    first = own.of_seeds(common if paired else own.seeds)
    second = dense.of_seeds(common if paired else dense.seeds)
    found = difference(first, second, own.units, same_seeds=paired)
    row["difference"], row["difference_error"] = found.value, found.standard_error
    row["difference_low"], row["difference_high"] = found.interval()
    row["degrees_of_freedom"] = found.degrees_of_freedom
    if trained:
        test = own.metric.test_trained(found, own.units)
        row["p_seeds"] = str(len(common)) if paired else f"{len(own.seeds)} + {len(dense.seeds)}"
    else:
        predicted = own.predicted[None], dense.predicted[None]
        test = own.metric.test_untrained(found, own.units, own.truth, *predicted)
    row["p_value"], row["p_test"], row["p_segments"] = test.p_value, test.name, test.segments
    row["notes"] = (*row["notes"], *filter(None, [test.note]))
    return found


def _correct(tested: Sequence[tuple[dict[str, Any], Estimate]]) -> None:
    corrected = holm([row["p_value"] for row, _ in tested])
    for (row, found), p_value in zip(tested, corrected, strict=True):
        row["p_corrected"], row["compared_rows"] = p_value, len(tested)
        row["significant"] = p_value < LEVEL
        row["resolution"] = SIGNIFICANT if row["significant"] else NOT_RESOLVED
        row["detectable"] = found.detectable(LEVEL / len(tested))
