"""Published scores with their sources, in a table of their own."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

from . import formats, four_task
from .rows import PublishedRow
from .table_model import DOWN, UP, Cell, Column, Table, make_table

TITLE = "Published rows: not run here"


def _score_column(task: str) -> Column[PublishedRow]:
    higher = task not in four_task.ERROR_RATES
    return Column(
        task.upper(),
        f"{task.upper()} {UP if higher else DOWN}",
        best_high=higher,
        value=lambda row: row.scores[task],
        text=lambda number: f"{number:.2f}",
    )


COLUMNS: tuple[Column[PublishedRow], ...] = (
    Column("row", "#", "number of the row in the plot", in_papers=False),
    Column(
        "upstream",
        "upstream",
        numeric=False,
        below="kind",
        cell=lambda row, rows: Cell(row.upstream, row.kind, row.upstream.lower()),
    ),
    Column(
        "score",
        four_task.NAME,
        "computed from the published scores",
        best_high=True,
        text=lambda number: f"{number:.0f}",
    ),
    *map(_score_column, four_task.TASKS),
    Column("parameters", "parameters", text=formats.count),
    Column(
        "macs_32",
        "MACs",
        "multiply-adds over the leaderboard's 32 utterances",
        text=formats.giga,
    ),
    Column(
        "source",
        "source",
        numeric=False,
        cell=lambda row, rows: Cell(row.source, "", row.source.lower()),
    ),
)
NOTES = (
    "Copied from the named sources, all at official settings; there are no records, predictions or "
    "standard errors of them here. Accuracies and word error rates are in percent.",
    "The leaderboard's parameters include the pre-training head. A dash: not published.",
)


def published_rows() -> list[PublishedRow]:
    """Return the published rows, best first."""
    text = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8")
    rows = [_row(line) for line in csv.DictReader(io.StringIO(text))]
    rows.sort(key=lambda row: -row.score)
    return [replace(row, row=number) for number, row in enumerate(rows, start=1)]


def published_table() -> Table[PublishedRow]:
    """Return the published rows as a table of their own."""
    facts = ("official settings", "from the literature")
    return make_table(TITLE, facts, COLUMNS, published_rows(), notes=NOTES)


def _row(line: Mapping[str, str]) -> PublishedRow:
    scores = {task: float(line[task.upper()]) for task in four_task.TASKS}
    dense = line["kind"] == "dense"
    return PublishedRow(
        upstream=line["model"],
        kind=line["kind"],
        methods="" if dense else line["kind"],
        reference=dense,
        metric=four_task.NAME,
        higher_is_better=True,
        score=four_task.four_task_score(scores)[0],
        standard_error=None,
        parameters=_number(line["params_M"], 1e6),
        macs_32=_number(line["macs_G"], 1e9),
        source=line["source"],
        scores=scores,
    )


def _number(text: str, unit: float) -> float | None:
    return float(text) * unit if text else None
