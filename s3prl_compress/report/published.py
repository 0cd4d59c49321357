"""Scores that others have published, with their sources. Never mixed with rows that were run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from importlib import resources
from typing import Any

from . import formats, four_task
from .table_model import DOWN, UP, Cell, Column, Line, Table

TITLE = "Published rows: not run here"
_SCORES = tuple(task.upper() for task in four_task.TASKS)

COLUMNS = (
    Column("row", "#", "number of the row in the plot"),
    Column("upstream", "upstream", numeric=False, below="kind"),
    Column("score", four_task.NAME, "computed from the published scores", best_high=True),
    *(
        Column(
            task,
            f"{task} {DOWN if task == 'ASR' else UP}",
            best_high=task != "ASR",
        )
        for task in _SCORES
    ),
    Column("parameters", "parameters"),
    Column("macs_32", "MACs", "multiply-adds over the leaderboard's 32 utterances"),
    Column("source", "source", numeric=False),
)
NOTES = (
    "Copied from the sources named, all at official settings; no record, no prediction and no "
    "error stands behind them here. Accuracies and word error rates in percent.",
    "The leaderboard's parameters count the pre-training head too. A dash: not published.",
)


def published_rows() -> list[dict[str, Any]]:
    """Return the published rows under the names that plots and tables use."""
    text = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    rows = [_row(line) for line in csv.DictReader(io.StringIO(text))]
    rows.sort(key=lambda row: -row["score"])
    return [{"row": number, **row} for number, row in enumerate(rows, start=1)]


def published_table() -> Table:
    """Return the published rows as a table of their own."""
    lines = tuple(
        Line(tuple(_cell(column.key, row) for column in COLUMNS), "", row["reference"], row)
        for row in published_rows()
    )
    return Table(TITLE, ("official settings", "from the literature"), COLUMNS, lines, NOTES)


def _row(line: Mapping[str, str]) -> dict[str, Any]:
    scores = {task: float(line[task.upper()]) for task in four_task.TASKS}
    score, _ = four_task.four_task_score(scores)
    dense = line["kind"] == "dense"
    return {
        "upstream": line["model"],
        "kind": line["kind"],
        "methods": "" if dense else line["kind"],
        "reference": dense,
        "peer": False,
        "metric": four_task.NAME,
        "higher_is_better": True,
        "score": score,
        "standard_error": None,
        "significant": None,
        "parameters": _number(line["params_M"], 1e6),
        "macs_32": _number(line["macs_G"], 1e9),
        "rtfx": None,
        "source": line["source"],
        **{task: float(line[task]) for task in _SCORES},
    }


def _number(text: str, unit: float) -> float | None:
    return float(text) * unit if text else None


def _cell(key: str, row: Mapping[str, Any]) -> Cell:
    value = row[key]
    if value is None:
        return Cell()
    if key == "upstream":
        return Cell(value, row["kind"], value.lower())
    if key == "source":
        return Cell(value, "", value.lower())
    if key == "row":
        return Cell(str(value), "", value)
    write = {
        "score": lambda number: f"{number:.0f}",
        "parameters": formats.count,
        "macs_32": formats.giga,
    }.get(key, lambda number: f"{number:.2f}")
    return Cell(write(value), "", value)
