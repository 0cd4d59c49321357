"""One block of the leaderboard: a task under one set of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from . import formats
from .columns import (
    FILE_SIZE,
    FRONT,
    MACS,
    NUMBER,
    PARAMETERS,
    RTFX,
    SPEEDUP,
    STORED,
    UPSTREAM,
    any_value,
)
from .language_models import LANGUAGE_MODEL_COLUMNS, language_model_columns
from .rows import Entry, Row
from .score_cells import decimals_for, difference_cell, p_value_cell, score_cell
from .table_model import Cell, Column, Table, make_table
from .text_columns import TEXT_COLUMNS, any_companion, lead_notes
from .uncertainty import ONE_SEED
from .uncertainty_notes import companion_notes, error_notes

TASK_TITLES = {
    "ks": "Keyword spotting",
    "sid": "Speaker identification",
    "er": "Emotion recognition",
    "asr": "Speech recognition",
    "pr": "Phoneme recognition",
    "ic": "Intent classification",
    "ctc": "Recognition by the model's own CTC head (not a SUPERB task)",
    "whisper": "Recognition by a Whisper model (not a SUPERB task)",
}
_RATE_CHOICES = {
    "dev sweep": "chosen on dev",
    "one-pass": "chosen on dev by the one-pass engine",
    "given": "not tuned",
    "": "",
}


def score_tables(rows: Sequence[Row]) -> list[Table[Row]]:
    """Return one table per block of `leaderboard.leaderboard`."""
    return [_table(list(block)) for _, block in groupby(rows, key=lambda row: row.block)]


def task_title(task: str) -> str:
    """Return a task's name in words; of an unknown one, its short name."""
    return TASK_TITLES.get(task, task)


def timing_notes(rows: Sequence[Entry]) -> list[str]:
    """Return a note on how the speeds of a table were measured; nothing without speeds."""
    timings = list(dict.fromkeys(row.speed.timing for row in rows if row.speed.timing))
    return [
        f"RTFx and speed-up: {timing}. The speed-up is from pairs within one run; RTFx is not, so "
        "other load on the machine affects it."
        for timing in timings[:1]
    ]


def _table(rows: list[Row]) -> Table[Row]:
    first = rows[0].conditions
    return make_table(
        f"{task_title(first.task)}: {first.engine} engine, {first.padding} padding",
        _facts(rows[0]),
        _columns(rows),
        rows,
        notes=(*lead_notes(rows), *error_notes(rows), *companion_notes(rows), *timing_notes(rows)),
        row_notes=lambda row: row.notes,
    )


def _columns(rows: Sequence[Row]) -> tuple[Column[Row], ...]:
    """Return the columns of a table, with those of language models before the seeds."""
    place = next(place for place, column in enumerate(COLUMNS) if column.key == "seeds")
    return (*COLUMNS[:place], *language_model_columns(rows), *COLUMNS[place:])


def _facts(row: Row) -> tuple[str, ...]:
    block = row.conditions
    direction = "" if row.higher_is_better else ", lower is better"
    facts = [
        f"{row.metric}{direction}",
        f"task {block.task} v{block.task_version}, {block.variant}",
        f"engine version {row.engine_version}",
        f"recipe {block.recipe}",
        f"corpus {block.corpus} ({block.corpus_fingerprint[:8]})",
        f"{row.test_size} test utterances",
    ]
    if row.language_model:
        facts.append(f"language model {row.language_model}")
    if row.fold_sizes:
        facts.append(f"{len(row.fold_sizes)} folds")
    if row.first_state:
        facts.append(f"hidden states from {row.first_state} on")
    if row.chance is not None:
        facts.append(f"chance {row.chance:.1f}")
    return tuple(facts)


def _cer(row: Row, rows: Sequence[Row]) -> Cell:
    return Cell() if row.cer is None else Cell(f"{row.cer:.{decimals_for(rows)}f}", "", row.cer)


def _seeds(row: Row, rows: Sequence[Row]) -> Cell:
    below = f"mean of {row.seed_count}" if row.seed_count > 1 else ""
    return Cell(row.seeds, below, row.seed_count)


def _spread(row: Row, rows: Sequence[Row]) -> Cell:
    seeds, folds = row.seed_spread, row.fold_spread
    return Cell(
        Cell().text if seeds is None else f"{seeds:.2f}",
        "" if folds is None else f"{folds:.2f}",
        seeds,
    )


def _learning_rate(row: Row, rows: Sequence[Row]) -> Cell:
    rates = [float(rate) for rate in row.learning_rate.split()]
    return Cell(" ".join(map(formats.learning_rate, rates)), "", rates[0]) if rates else Cell("")


def _in_its_direction(column: Column[Row], rows: Sequence[Row]) -> Column[Row]:
    """Let sorting start with the best score, which may be the highest or the lowest."""
    return replace(column, best_high=rows[0].higher_is_better)


def _with_rate_choice(column: Column[Row], rows: Sequence[Row]) -> Column[Row]:
    """Let the column explain how the learning rates were chosen."""
    choices = {row.rate_choice for row in rows}
    explanation = _RATE_CHOICES[choices.pop()] if len(choices) == 1 else "see the notes"
    return replace(column, explanation=explanation)


COLUMNS: tuple[Column[Row], ...] = (
    NUMBER,
    UPSTREAM,
    Column(
        "score",
        "score",
        "\N{PLUS-MINUS SIGN} standard error; below it, the 95 % interval",
        below="95 % interval",
        cell=score_cell,
        heading=_in_its_direction,
    ),
    Column(
        "difference",
        "difference",
        "from the dense upstream, in points; below it, the 95 % interval",
        below="its interval",
        value=lambda row: row.significance.difference,
        cell=difference_cell,
        shown=lambda rows: any(row.significance.difference is not None for row in rows),
        heading=_in_its_direction,
    ),
    Column(
        "p_value",
        "p",
        "two-sided, of the test against dense; below it, corrected for the number of rows",
        below="corrected",
        value=lambda row: row.significance.p_value,
        cell=p_value_cell,
        shown=lambda rows: any(
            row.significance.p_value is not None or row.significance.resolution == ONE_SEED
            for row in rows
        ),
    ),
    Column(
        "cer",
        "CER",
        "character error rate, percent",
        cell=_cer,
        shown=lambda rows: any_value("cer")(rows) and not any_companion(rows),
    ),
    *TEXT_COLUMNS,
    *LANGUAGE_MODEL_COLUMNS,
    Column(
        "runaways",
        "runaways",
        "utterances in which the decoder reached the cap on new tokens or repeated itself",
        shown=any_value("runaways"),
    ),
    Column(
        "seeds",
        "seeds",
        "one run per seed; the score is their mean",
        numeric=False,
        cell=_seeds,
        shown=any_value("seeds"),
    ),
    Column(
        "seed_spread",
        "spread",
        "standard deviation over seeds; below it, over folds",
        below="over folds",
        cell=_spread,
        shown=lambda rows: any_value("seed_spread")(rows) or any_value("fold_spread")(rows),
    ),
    Column(
        "learning_rate",
        "learning rate",
        cell=_learning_rate,
        shown=any_value("learning_rate"),
        heading=_with_rate_choice,
    ),
    PARAMETERS,
    STORED,
    MACS,
    FILE_SIZE,
    RTFX,
    SPEEDUP,
    replace(FRONT, shown=any_value("front")),
    Column(
        "engine",
        "engine",
        "below it, the padding rule",
        numeric=False,
        below="padding",
        value=lambda row: row.conditions.engine,
        cell=lambda row, rows: Cell(
            row.conditions.engine, row.conditions.padding, row.conditions.engine
        ),
        in_papers=False,
    ),
)
"""The columns of a task's table, in their order."""
