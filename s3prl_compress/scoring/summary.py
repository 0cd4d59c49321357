"""A score record as a terminal and `--json` show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..reporting.records import ScoreRecord


def score_figures(record: ScoreRecord, path: Path) -> dict[str, Any]:
    """Return the record's main figures under stable keys, ready for JSON."""
    return {
        "task": record.task,
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
        "folds": [fold.score for fold in record.folds],
        "learning_rate": record.learning_rate,
        "dev_score": record.dev_score,
        "approximate": record.approximate,
        "notes": list(record.notes),
        "record": str(path),
    }


def score_line(record: ScoreRecord) -> str:
    """Return the score with its error and conditions, and the notes, a line each."""
    chance = "" if record.chance is None else f"chance {record.chance:.2f}; "
    training = (
        ""
        if record.learning_rate is None
        else f", recipe {record.recipe}, seed {record.seed}, learning rate {record.learning_rate:g}"
    )
    others = "".join(
        f", {name.upper()} {value:.2f}" for name, value in record.other_metrics.items()
    )
    utterances = f"{record.test_size} utterances"
    over = "" if record.error_units in ("utterances", utterances) else record.error_units
    errors = f"error over {over}; " if over else ""
    first = (
        f"{record.upstream.name}: {record.task} {record.metric} {record.score:.2f} "
        f"\N{PLUS-MINUS SIGN} {record.standard_error:.2f}{others} on {utterances} "
        f"({errors}{chance}{record.engine}, padding {record.padding}{training})"
    )
    return "\n".join([first, *(f"note: {note}" for note in record.notes)])
