"""Summaries of score records for the terminal and for `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..results.records import ScoreRecord
from .merge import merge
from .uncertainty import with_errors


def score_figures(record: ScoreRecord, path: Path) -> dict[str, Any]:
    """Return the record's main figures under stable keys, ready for JSON."""
    return {
        "task": record.task,
        "normalize": record.upstream.normalize,
        "engine": record.engine,
        "padding": record.padding,
        "recipe": record.recipe,
        "seed": record.seed,
        "score": record.score,
        "standard_error": record.standard_error,
        "error_units": record.error_units,
        "metric": record.metric,
        "test_size": record.test_size,
        "interval": record.interval,
        "chance": record.chance,
        "other_metrics": record.other_metrics,
        "edits": {unit: asdict(counts) for unit, counts in record.edits.items()},
        "runaways": record.runaways,
        "corpus": record.corpus.name,
        "folds": [fold.score for fold in record.folds],
        "learning_rate": record.learning_rate,
        "dev_score": record.dev_score,
        "layer_weights": list(record.layer_weights),
        "approximate": record.approximate,
        "notes": list(record.notes),
        "record": str(path),
    }


def score_line(record: ScoreRecord) -> str:
    """Return the score with its error and conditions, then the notes, one per line."""
    chance = "" if record.chance is None else f"chance {record.chance:.2f}; "
    training = (
        ""
        if record.learning_rate is None
        else f", recipe {record.recipe}, seed {record.seed}, learning rate {record.learning_rate:g}"
    )
    others = "".join(
        f", {name.upper()} {value:.2f}" for name, value in record.other_metrics.items()
    )
    if record.edits:
        kinds = "/".join(f"{rate:.2f}" for rate in record.edits["words"].rates())
        others = f" (substitutions/deletions/insertions {kinds}){others}"
    utterances = f"{record.test_size} utterances"
    corpus = f" of {record.corpus.name}" if record.learning_rate is None else ""
    over = "" if record.error_units in ("utterances", utterances) else record.error_units
    errors = f"error over {over}; " if over else ""
    first = (
        f"{record.upstream.name}: {record.task} {record.metric} {record.score:.2f} "
        f"\N{PLUS-MINUS SIGN} {record.standard_error:.2f}{others} on {utterances}{corpus} "
        f"({errors}{chance}{record.engine}, padding {record.padding}{training})"
    )
    return "\n".join([first, *(f"note: {note}" for note in record.notes)])


def seeds_figures(records: Sequence[ScoreRecord], paths: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of one upstream's records with several seeds, ready for JSON.

    `spread` is the standard deviation of the scores over the seeds, None for a single seed. The
    standard error and the 95 % interval of the mean are over seeds and test items, as in a report.
    """
    scores = [record.score for record in records]
    located = [
        record.model_copy(update={"predictions": str(path.parent / record.predictions)})
        for record, path in zip(records, paths, strict=True)
    ]
    (row,) = with_errors([merge(located)], [located])
    return {
        "seeds": [record.seed for record in records],
        "mean": fmean(scores),
        "standard_error": row.standard_error,
        "interval": (row.score_low, row.score_high),
        "error_units": row.error_units,
        "spread": stdev(scores) if len(scores) > 1 else None,
        "records": [
            score_figures(record, path) for record, path in zip(records, paths, strict=True)
        ],
    }


def seeds_lines(records: Sequence[ScoreRecord], figures: Mapping[str, Any]) -> str:
    """Return a line per seed, the mean with its error, and all notes.

    Args:
        records: one per seed.
        figures: what `seeds_figures` returned for them.
    """
    first = records[0]
    lines = [
        f"seed {record.seed}: {record.score:.2f} \N{PLUS-MINUS SIGN} {record.standard_error:.2f}"
        + ("" if record.learning_rate is None else f", learning rate {record.learning_rate:g}")
        for record in records
    ]
    several = len(records) > 1
    spread = f", standard deviation over seeds {figures['spread']:.2f}" if several else ""
    lines.append(
        f"{first.upstream.name}: {first.task} {first.metric} {figures['mean']:.2f} "
        f"\N{PLUS-MINUS SIGN} {figures['standard_error']:.2f}, mean of {len(records)} "
        f"seed{'s' if several else ''}{spread}; error over {'seeds and ' if several else ''}"
        f"{figures['error_units']} ({first.engine}, "
        f"padding {first.padding}, recipe {first.recipe}, {first.test_size} utterances)"
    )
    notes = dict.fromkeys(note for record in records for note in record.notes)
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])
