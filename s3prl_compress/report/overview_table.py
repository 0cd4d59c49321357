"""All tasks side by side, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import formats, four_task
from .notes import ALMOST, APPROXIMATE, RANDOM_WEIGHTS, footnotes
from .rows import reference_of
from .table_model import (
    COST_COLUMNS,
    DOWN,
    FRONT_COLUMN,
    UP,
    Cell,
    Column,
    Line,
    Table,
    cost_cell,
    front_cell,
    upstream_cell,
    verdict,
)
from .task_table import timing_notes
from .uncertainty_notes import detectable_text

_COSTS = {
    column.key: column
    for column in COST_COLUMNS
    if column.key in ("parameters", "macs_32", "rtfx", "speedup")
}


def overview_table(
    title: str, rows: Sequence[dict[str, Any]], blocks: Sequence[Sequence[Mapping[str, Any]]]
) -> Table:
    """Return the table of all tasks.

    Args:
        title: of the table.
        rows: one per upstream, its rows of the tasks below the key `tasks`; see `overview`.
        blocks: each task's rows, in the order of the columns.
    """
    columns = _columns(rows, [block[0] for block in blocks])
    decimals = {
        block[0]["task"]: formats.decimals_for([row["standard_error"] for row in block])
        for block in blocks
    }
    shared, own, marks = footnotes([row["notes"] for row in rows])
    lines = tuple(
        Line(
            tuple(_cell(column.key, row, reference_of(row, rows), decimals) for column in columns),
            mark,
            row["reference"],
            row,
        )
        for row, mark in zip(rows, marks, strict=True)
    )
    facts = tuple(f"{row['task'].upper()}: {row['metric']}, {row['corpus']}" for row, *_ in blocks)
    notes = (*shared, *_notes(rows), *timing_notes(rows))
    return Table(title, facts, columns, lines, notes, tuple(own))


def _columns(
    rows: Sequence[dict[str, Any]], tasks: Sequence[Mapping[str, Any]]
) -> tuple[Column, ...]:
    costs = [column for key, column in _COSTS.items() if any(row[key] is not None for row in rows)]
    return (
        Column("row", "#", "number of the row in the plots"),
        Column("upstream", "upstream", numeric=False, below="methods"),
        Column("score", rows[0]["metric"], "\N{PLUS-MINUS SIGN} standard error", best_high=True),
        *(
            Column(
                f"task-{task['task']}",
                f"{task['task'].upper()} {UP if task['higher_is_better'] else DOWN}",
                "\N{PLUS-MINUS SIGN} standard error; below it, the difference to dense",
                best_high=task["higher_is_better"],
            )
            for task in tasks
        ),
        *costs,
        FRONT_COLUMN,
    )


def _cell(
    key: str,
    row: dict[str, Any],
    reference: dict[str, Any] | None,
    decimals_of: Mapping[str, int],
) -> Cell:
    if key.startswith("task-"):
        task = key.removeprefix("task-")
        return _task_cell(row["tasks"].get(task), decimals_of[task])
    if key in _COSTS:
        return cost_cell(key, row, reference)
    if key == "upstream":
        return upstream_cell(row)
    if key == "front":
        return front_cell(row)
    if key == "row":
        return Cell(str(row["row"]), "", row["row"])
    if row["score"] is None:
        return Cell()
    decimals = formats.decimals_for([row["standard_error"]])
    return Cell(_score(row, decimals), "", row["score"])


def _task_cell(row: Mapping[str, Any] | None, decimals: int) -> Cell:
    """Return a task's score above its difference to dense, with a star where significant."""
    if row is None:
        return Cell()
    below = ""
    if row["difference"] is not None:
        star = "*" if row["significant"] else ""
        below = f"{formats.signed(row['difference'], decimals)}{star}"
    return Cell(_score(row, decimals), below, row["score"], verdict(row))


def _score(row: Mapping[str, Any], decimals: int) -> str:
    mark = f"{ALMOST} " if row["approximate"] else ""
    return mark + formats.score(row["score"], row["standard_error"], decimals)


def _limits(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say which differences would have been found on each task."""
    tasks: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        for name, task in row["tasks"].items():
            tasks.setdefault(name, []).append(task)
    found = {name: detectable_text(own) for name, own in tasks.items()}
    listed = "; ".join(f"{name.upper()} {text}" for name, text in found.items() if text)
    return f"differences that would have been found with a power of 80 %: {listed}."


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes, metric = [], rows[0]["metric"]
    if metric == four_task.NAME:
        notes.append(
            "4-task score: 1000 (v - base) / (top - base), the mean over the tasks, with the "
            "SUPERB leaderboard's formula and reference points (errors v as 100 - v). The "
            "leaderboard's own score is of ten tasks: never compare the two. Its error combines "
            "those of the tasks, over seeds and speakers."
        )
    else:
        notes.append(
            f"{metric.capitalize()}: their plain mean, error rates as 100 less the rate. It is no "
            f"4-task score, and {four_task.NOT_COMPARABLE}."
        )
    if any(row["approximate"] for row in rows):
        notes.append(APPROXIMATE)
    if any(row["random_weights"] for row in rows):
        notes.append(RANDOM_WEIGHTS)
    if any(task["significant"] is not None for row in rows for task in row["tasks"].values()):
        notes.append(
            "* after a difference: significant at 0.05, corrected for the rows of its task. "
            "Without it, a difference is not resolved, or not tested (see the task's own table); "
            f"{_limits(rows)}"
        )
    return notes
