"""Scores with a language model: a table of their own, and a column beside greedy decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from . import formats
from .columns import verdict
from .companions import with_companion_first
from .rows import Row
from .score_cells import decimals_for, score_text
from .table_model import Cell, Column

WITH_LM = "lm"
"""Name of the engine that decodes with a language model."""
WITHOUT_LM = "greedy"


def with_language_models(rows: Sequence[Row]) -> list[Row]:
    """Return all rows, those of greedy decoding with the scores that a language model gives.

    They stand beside each other, but are never ranked or compared: the rows of a language model are
    blocks of their own.
    """
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if row.conditions.engine == WITH_LM:
            found.setdefault(_measured(row), {})[row.conditions.settings_sha256] = row
    return [
        replace(row, with_lm=found.get(_measured(row), {}))
        if row.conditions.engine == WITHOUT_LM
        else row
        for row in rows
    ]


def language_model_columns(rows: Sequence[Row]) -> list[Column[Row]]:
    """Return a column for each language model with which a greedy table's upstreams were scored."""
    models = {key: row for own in rows for key, row in own.with_lm.items()}
    return [
        Column(
            f"with_lm_{number}",
            f"with LM {number}" if len(models) > 1 else "with LM",
            f"not ranked here; with {_described(row)}; below it, the difference from dense, also "
            "with LM (* significant, corrected)",
            below="difference",
            value=_score_with(key),
            cell=_cell_with(key),
        )
        for number, (key, row) in enumerate(models.items(), start=1)
    ]


def _described(row: Row) -> str:
    """Return the name of a row's language model, and how its weights were chosen."""
    if row.lm_dev_score is not None:
        return f"{row.language_model}, weights tuned on dev"
    return f"{row.language_model}, LM weight {row.lm_weight:g}, word score {row.word_score:g}"


def _measured(row: Row) -> tuple[str, ...]:
    """Return what rows have in common that differ only in how they are decoded."""
    where = row.conditions
    conditions = (where.task, str(where.task_version), where.variant, where.corpus_fingerprint)
    return (*conditions, where.padding, row.checkpoint_sha256, row.upstream)


def _by_metric_of(row: Row, key: str) -> Row | None:
    """Return the row with a language model, its score in the metric that leads the greedy table."""
    found = row.with_lm.get(key)
    if found is None or found.metric == row.metric:
        return found
    other = with_companion_first(found)
    return other if other.metric == row.metric else None


def _score_with(key: str) -> Callable[[Row], float | None]:
    def value(row: Row) -> float | None:
        found = _by_metric_of(row, key)
        return None if found is None else found.score

    return value


def _cell_with(key: str) -> Callable[[Row, Sequence[Row]], Cell]:
    def cell(row: Row, rows: Sequence[Row]) -> Cell:
        found = _by_metric_of(row, key)
        if found is None:
            return Cell()
        decimals, below = decimals_for(rows), ""
        difference = found.significance.difference
        if difference is not None:
            below = f"{formats.signed(difference, decimals)}{'*' if found.significant else ''}"
        return Cell(score_text(found, decimals), below, found.score, verdict(found))

    return cell


LANGUAGE_MODEL_COLUMNS: tuple[Column[Row], ...] = (
    Column(
        "lm_weight",
        "LM weight",
        "factor of the language model's log10 probabilities",
        text=lambda value: f"{value:g}",
        shown=lambda rows: any(row.lm_weight is not None for row in rows),
        in_papers=False,
    ),
    Column(
        "word_score",
        "word score",
        "added for each word",
        text=lambda value: f"{value:g}",
        shown=lambda rows: any(row.word_score is not None for row in rows),
        in_papers=False,
    ),
    Column(
        "lm_dev_score",
        "dev WER",
        "with this weight and word score, which are the best of those tried on dev",
        text=lambda value: f"{value:.2f}",
        shown=lambda rows: any(row.lm_dev_score is not None for row in rows),
        in_papers=False,
    ),
)
"""Of a table with a language model: what was tuned on dev."""
