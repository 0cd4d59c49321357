"""Whether a row differs from its dense upstream, from the predictions beside the records."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from .rows import reference_of

if TYPE_CHECKING:
    from ..scoring.significance import Comparison

SIGNIFICANCE_COLUMNS = (
    "difference_low",
    "difference_high",
    "p_value",
    "p_corrected",
    "p_bootstrap",
    "p_test",
    "p_units",
    "compared_rows",
    "significant",
)
LEVEL = 0.05
"""A corrected p value below it is called significant."""

NO_PREDICTIONS = "No paired test: predictions are missing beside its records, or dense's."
OTHER_UTTERANCES = "No paired test: its predictions and dense's are not of the same utterances."
NO_COMMON_SEED = "No paired test: it has no seed in common with its dense upstream."

_Predictions = dict[str, tuple[str, str]]
"""Truth and prediction by utterance, in the file's order."""


def attach_significance(rows: list[dict[str, Any]]) -> None:
    """Fill in `SIGNIFICANCE_COLUMNS` of a block's rows, in place.

    Each compressed row against its dense upstream, on the seeds that both have. `p_corrected` is
    Holm's over all such rows of the block; `significant` is whether it is below `LEVEL`. Where no
    test can be made, a note says why.
    """
    read = cache(_read)
    compared = []
    for row in rows:
        row.update(dict.fromkeys(SIGNIFICANCE_COLUMNS))
        reference = reference_of(row, rows)
        if reference is None or reference is row:
            continue
        result = _compare(row, reference, read)
        if isinstance(result, str):
            row["notes"] = (*row["notes"], result)
            continue
        compared.append(row)
        row["difference_low"], row["difference_high"] = result.interval
        row["p_value"], row["p_bootstrap"] = result.p_value, result.bootstrap_p
        row["p_test"], row["p_units"] = result.test, result.units
        _warn_of_few_segments(row)
    _correct(compared)


def _correct(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    from ..scoring.significance import holm

    for row, corrected in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_corrected"], row["compared_rows"] = corrected, len(rows)
        row["significant"] = corrected < LEVEL


def _compare(
    row: dict[str, Any], reference: dict[str, Any], read: Callable[[str], _Predictions | None]
) -> Comparison | str:
    """Return the comparison, or the note that says why there is none."""
    own, other = dict(row["predictions"]), dict(reference["predictions"])
    seeds = sorted(set(own) & set(other))
    if not seeds:
        return NO_COMMON_SEED
    files = [read(paths[seed]) for paths in (own, other) for seed in seeds]
    found = [file for file in files if file]
    if len(found) < len(files):
        return NO_PREDICTIONS
    truth = {name: label for name, (label, _) in found[0].items()}
    if any({name: label for name, (label, _) in file.items()} != truth for file in found):
        return OTHER_UTTERANCES
    predicted = [[file[name][1] for name in truth] for file in found]
    first, second = predicted[: len(seeds)], predicted[len(seeds) :]
    # Imported here: with the tasks and engines beside it comes torch.
    from ..scoring.significance import compare_classes, compare_words

    labels = list(truth.values())
    if row["task"] in ("asr", "ctc"):
        return compare_words(labels, first, second)
    folds = row["fold_sizes"] if sum(row["fold_sizes"]) == len(labels) else ()
    return compare_classes(labels, first, second, folds)


def _read(path: str) -> _Predictions | None:
    """Read `file,truth,predicted`; None where the file is not there or is no such table."""
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            return {
                line["file"]: (line["truth"], line["predicted"]) for line in csv.DictReader(lines)
            }
    except (OSError, UnicodeDecodeError, KeyError, csv.Error):
        return None


def _warn_of_few_segments(row: dict[str, Any]) -> None:
    from ..scoring.significance import FEW_SEGMENTS

    if row["p_test"] == "MAPSSWE" and row["p_units"] < FEW_SEGMENTS:
        note = f"MAPSSWE on {row['p_units']} segments, fewer than {FEW_SEGMENTS}: a rough p value."
        row["notes"] = (*row["notes"], note)


def significance_notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say what the p values of a block are, in one note; none where there are none."""
    tested = [row for row in rows if row["p_value"] is not None]
    if not tested:
        return []
    tests = " or ".join(dict.fromkeys(row["p_test"] for row in tested))
    count = int(tested[0]["compared_rows"])
    rows_words = "1 row" if count == 1 else f"{count} rows"
    note = (
        f"p: {tests}, two-sided, against the dense upstream on the same utterances; corrected "
        f"after Holm for {rows_words}. Intervals of differences: 95 %, paired bootstrap over "
        "utterances."
    )
    if any(row["seed_count"] > 1 for row in tested):
        note += (
            " Several seeds count as several heads on the same utterances: their errors are "
            "summed per utterance, which stays the unit of the test."
        )
    return [note]
