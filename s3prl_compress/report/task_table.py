"""One block of the leaderboard: a task under one set of conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas

from . import formats
from .notes import ALMOST, footnotes
from .rows import reference_of
from .table_model import (
    COST_COLUMNS,
    FRONT_COLUMN,
    TASK_TITLES,
    Cell,
    Column,
    Line,
    Table,
    cost_cell,
    front_cell,
    upstream_cell,
    verdict,
    without_nan,
)
from .uncertainty import ONE_SEED
from .uncertainty_notes import error_notes

_COSTS = {column.key for column in COST_COLUMNS}
_RATE_CHOICES = {
    "dev sweep": "chosen on dev",
    "one-pass": "chosen on dev by the one-pass engine",
    "given": "not tuned",
    "": "",
}

COLUMNS = (
    Column("row", "#", "number of the row in the plots"),
    Column("upstream", "upstream", numeric=False, below="methods"),
    Column(
        "score",
        "score",
        "\N{PLUS-MINUS SIGN} standard error; below it, the 95 % interval",
        best_high=True,
        below="95 % interval",
    ),
    Column(
        "difference",
        "difference",
        "to the dense upstream, in points; below it, the 95 % interval",
        best_high=True,
        below="its interval",
    ),
    Column(
        "p_value",
        "p",
        "two-sided, of the test against dense; below it, corrected for the rows",
        below="corrected",
    ),
    Column("cer", "CER", "character error rate, percent"),
    Column("seeds", "seeds", "one run per seed; the score is their mean", numeric=False),
    Column(
        "seed_spread",
        "spread",
        "standard deviation over seeds; below it, over folds",
        below="over folds",
    ),
    Column("learning_rate", "learning rate"),
    *COST_COLUMNS,
    FRONT_COLUMN,
    Column("engine", "engine", "below it, the padding rule", numeric=False, below="padding"),
)
# Left out where no row has them.
_OPTIONAL = ("difference", "p_value", "cer", "rtfx", "speedup", "front", "seeds", "learning_rate")


def score_tables(frame: pandas.DataFrame) -> list[Table]:
    """Return one table per block of `leaderboard.leaderboard`."""
    if frame.empty:
        return []
    return [
        _table([without_nan(row) for row in group.to_dict("records")])
        for _, group in frame.groupby("block", sort=True)
    ]


def _table(rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    decimals = formats.decimals_for([row["standard_error"] for row in rows])
    columns = tuple(_column(column, rows) for column in COLUMNS if _has(column.key, rows))
    shared, own, marks = footnotes([tuple(row["notes"]) for row in rows])
    lines = tuple(
        Line(
            tuple(_cell(column.key, row, reference_of(row, rows), decimals) for column in columns),
            mark,
            bool(row["reference"]),
            row,
        )
        for row, mark in zip(rows, marks, strict=True)
    )
    title = TASK_TITLES.get(first["task"], first["task"])
    return Table(
        title=f"{title}: {first['engine']} engine, {first['padding']} padding",
        facts=_facts(first),
        columns=columns,
        lines=lines,
        notes=(*shared, *error_notes(rows), *timing_notes(rows)),
        footnotes=tuple(own),
    )


def _facts(first: Mapping[str, Any]) -> tuple[str, ...]:
    direction = "" if first["higher_is_better"] else ", lower is better"
    facts = [
        f"{first['metric']}{direction}",
        f"task {first['task']} v{first['task_version']}, {first['variant']}",
        f"engine version {first['engine_version']}",
        f"recipe {first['recipe']}",
        f"corpus {first['corpus']} ({first['corpus_fingerprint'][:8]})",
        f"{first['test_size']} test utterances",
    ]
    if first["fold_sizes"]:
        facts.append(f"{len(first['fold_sizes'])} folds")
    if first["first_state"]:
        facts.append(f"hidden states from {first['first_state']} on")
    if first["chance"] is not None:
        facts.append(f"chance {first['chance']:.1f}")
    return tuple(facts)


def timing_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the speed figures of a table are; nothing where there are none."""
    timings = list(dict.fromkeys(row["timing"] for row in rows if row["timing"]))
    return [
        f"RTFx and speed-up: {timing}. The speed-up is of pairs in one run; RTFx is not, "
        "so it also holds what else the machine did."
        for timing in timings[:1]
    ]


def _column(column: Column, rows: Sequence[Mapping[str, Any]]) -> Column:
    """Sort a score's column best first, whichever way that is; say how rates were chosen."""
    if column.key == "learning_rate":
        return Column(column.key, column.label, _rate_choice(rows))
    if column.key not in ("score", "difference") or rows[0]["higher_is_better"]:
        return column
    below = column.below
    return Column(column.key, column.label, column.explanation, best_high=False, below=below)


def _rate_choice(rows: Sequence[Mapping[str, Any]]) -> str:
    choices = {row["rate_choice"] for row in rows}
    return _RATE_CHOICES[choices.pop()] if len(choices) == 1 else "see the notes"


def _has(key: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    if key == "seed_spread":
        return any(row[key] is not None or row["fold_spread"] is not None for row in rows)
    if key == "nonzero_parameters":
        return any(row[key] != row["parameters"] for row in rows)
    if key == "p_value" and any(row["resolution"] == ONE_SEED for row in rows):
        return True
    return key not in _OPTIONAL or any(row[key] not in (None, (), "") for row in rows)


def _cell(
    key: str, row: Mapping[str, Any], reference: Mapping[str, Any] | None, decimals: int
) -> Cell:
    if key in _COSTS:
        return cost_cell(key, row, reference)
    value = row[key]
    if key == "upstream":
        return upstream_cell(row)
    if key == "front":
        return front_cell(row)
    if key == "score":
        return score_cell(row, decimals)
    if key == "seed_spread":
        return _spread(row)
    if key == "p_value" and row["resolution"] == ONE_SEED:
        return Cell(ONE_SEED)
    if value is None:
        return Cell()
    if key == "difference":
        return _difference(row, decimals)
    if key == "p_value":
        corrected = row["p_corrected"]
        return Cell(formats.p_value(value), formats.p_value(corrected), value, verdict(row))
    if key == "cer":
        return Cell(f"{value:.{decimals}f}", "", value)
    if key == "seeds":
        count = row["seed_count"]
        return Cell(value, f"mean of {count}" if count > 1 else "", count)
    if key == "learning_rate":
        rates = [float(rate) for rate in value.split()]
        return Cell(" ".join(map(formats.learning_rate, rates)), "", rates[0])
    if key == "engine":
        return Cell(value, row["padding"], value)
    return Cell(str(value), "", value)


def score_cell(row: Mapping[str, Any], decimals: int) -> Cell:
    """Return a score and its standard error above its 95 % interval."""
    mark = f"{ALMOST} " if row["approximate"] else ""
    low, high = row["score_low"], row["score_high"]
    return Cell(
        mark + formats.score(row["score"], row["standard_error"], decimals),
        f"{low:.{decimals}f} to {high:.{decimals}f}",
        row["score"],
    )


def _difference(row: Mapping[str, Any], decimals: int) -> Cell:
    below = ""
    if row["difference_low"] is not None:
        ends = (row["difference_low"], row["difference_high"])
        below = " to ".join(formats.signed(end, decimals) for end in ends)
    text = formats.signed(row["difference"], decimals)
    return Cell(text, below, row["difference"], verdict(row))


def _spread(row: Mapping[str, Any]) -> Cell:
    seeds, folds = row["seed_spread"], row["fold_spread"]
    return Cell(
        Cell().text if seeds is None else f"{seeds:.2f}",
        "" if folds is None else f"{folds:.2f}",
        seeds,
    )
