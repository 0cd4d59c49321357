"""All tasks of the same conditions side by side: the table that goes into a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import formats, four_task
from .costs import attach_fronts
from .notes import ALMOST, APPROXIMATE, RANDOM_WEIGHTS, footnotes
from .records import TimeRecord
from .rows import mark_roles, reference_of
from .speed import attach_speed
from .task_table import timing_notes
from .view import (
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

_SAME = (
    "upstream",
    "base",
    "methods",
    "reference",
    "peer",
    "random_weights",
    "source",
    "checkpoint_sha256",
    "parameters",
    "nonzero_parameters",
    "macs_32",
    "bytes",
)
"""What every task's row of one upstream says alike."""
_COSTS = {
    column.key: column
    for column in COST_COLUMNS
    if column.key in ("parameters", "macs_32", "rtfx", "speedup")
}


@dataclass(frozen=True)
class Group:
    """The blocks of one engine, padding and recipe: at most one per task, and what was left."""

    title: str
    tables: tuple[Table, ...]
    """One per task, in the leaderboard's order of tasks, then further blocks of these tasks."""
    overview: Table | None
    """All tasks side by side; None where there is only one."""


def groups(tables: Sequence[Table], times: Sequence[TimeRecord]) -> list[Group]:
    """Put the blocks that share engine, padding and recipe together.

    Where a task has several blocks (corpora, variants or settings), the one with the most rows
    stands in the overview; the overview says which corpora it is of.
    """
    found: dict[tuple[str, str, str], list[Table]] = {}
    for table in tables:
        row = table.lines[0].row
        found.setdefault((row["engine"], row["padding"], row["recipe"]), []).append(table)
    return [_group(blocks, times) for _, blocks in sorted(found.items())]


def _group(blocks: Sequence[Table], times: Sequence[TimeRecord]) -> Group:
    first = blocks[0].lines[0].row
    ordered = sorted(blocks, key=lambda table: (_rank(table), -len(table.lines)))
    chosen: dict[str, Table] = {}
    for table in ordered:
        chosen.setdefault(table.lines[0].row["task"], table)
    title = f"{first['engine']} engine, {first['padding']} padding, recipe {first['recipe']}"
    overview = _overview(title, chosen, times) if len(chosen) > 1 else None
    rest = [table for table in ordered if table not in chosen.values()]
    return Group(title, (*chosen.values(), *rest), overview)


def _rank(table: Table) -> int:
    task = table.lines[0].row["task"]
    return four_task.TASKS.index(task) if task in four_task.TASKS else len(four_task.TASKS)


def _overview(title: str, chosen: Mapping[str, Table], times: Sequence[TimeRecord]) -> Table:
    rows = _merged(chosen)
    official = set(chosen) == set(four_task.TASKS) and not any(
        four_task.why_not_comparable(table.lines[0].row) for table in chosen.values()
    )
    metric = four_task.NAME if official else f"mean of {len(chosen)} tasks"
    for row in rows:
        row["metric"] = metric
        row["score"], row["standard_error"] = _combined(row["tasks"], chosen, official)
    attach_speed(rows, list(times))
    attach_fronts(rows)
    rows.sort(key=lambda row: (row["peer"], row["base"], not row["reference"], *_best_first(row)))
    for number, row in enumerate(rows, start=1):
        row["row"] = number
    columns = _columns(rows, list(chosen), metric)
    shared, own, marks = footnotes([row["notes"] for row in rows])
    decimals = {
        task: formats.decimals_for([row["standard_error"] for row in table.rows])
        for task, table in chosen.items()
    }
    lines = tuple(
        Line(
            tuple(_cell(column.key, row, reference_of(row, rows), decimals) for column in columns),
            mark,
            row["reference"],
            row,
        )
        for row, mark in zip(rows, marks, strict=True)
    )
    corpora = [table.lines[0].row for table in chosen.values()]
    facts = tuple(f"{row['task'].upper()}: {row['metric']}, {row['corpus']}" for row in corpora)
    notes = (*shared, *_notes(metric, rows), *timing_notes(rows))
    return Table(f"All tasks: {title}", facts, columns, lines, notes, tuple(own))


def _merged(chosen: Mapping[str, Table]) -> list[dict[str, Any]]:
    """Return one row per upstream, its tasks' rows below the key `tasks`."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for task, table in chosen.items():
        for line in table.lines:
            row = line.row
            key = (row["checkpoint_sha256"], row["upstream"])
            same = {name: row[name] for name in _SAME}
            merged = rows.setdefault(key, {**same, "tasks": {}, "notes": ()})
            merged["tasks"][task] = row
    mark_roles(list(rows.values()))
    for row in rows.values():
        row["higher_is_better"] = True
        row["significant"] = _anywhere(row["tasks"].values())
        row["approximate"] = any(task["approximate"] for task in row["tasks"].values())
    return list(rows.values())


def _anywhere(tasks: Iterable[Mapping[str, Any]]) -> bool | None:
    """Whether a difference is significant on any task; None where not all were tested."""
    verdicts = [task["significant"] for task in tasks]
    return True if any(verdicts) else None if None in verdicts else False


def _combined(
    tasks: Mapping[str, Mapping[str, Any]], wanted: Iterable[str], official: bool
) -> tuple[float | None, float | None]:
    """Return the score over all tasks and its standard error; none where a task is missing."""
    if set(tasks) != set(wanted):
        return None, None
    scores = {task: float(row["score"]) for task, row in tasks.items()}
    errors = {task: float(row["standard_error"]) for task, row in tasks.items()}
    if official:
        return four_task.four_task_score(scores, errors)
    merits = [four_task.merit(row["score"], row["higher_is_better"]) for row in tasks.values()]
    return sum(merits) / len(merits), math.hypot(*errors.values()) / len(errors)


def _best_first(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    return row["score"] is None, -(row["score"] or 0.0), row["upstream"]


def _columns(rows: Sequence[dict[str, Any]], tasks: list[str], metric: str) -> tuple[Column, ...]:
    direction = {
        task: next(row["tasks"][task]["higher_is_better"] for row in rows if task in row["tasks"])
        for task in tasks
    }
    costs = [column for key, column in _COSTS.items() if any(row[key] is not None for row in rows)]
    return (
        Column("row", "#", "number of the row in the plots"),
        Column("upstream", "upstream", numeric=False, below="methods"),
        Column("score", metric, "\N{PLUS-MINUS SIGN} standard error", best_high=True),
        *(
            Column(
                f"task-{task}",
                f"{task.upper()} {UP if up else DOWN}",
                "\N{PLUS-MINUS SIGN} standard error; below it, the difference to dense",
                best_high=up,
            )
            for task, up in direction.items()
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


def _notes(metric: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    if metric == four_task.NAME:
        notes.append(
            "4-task score: 1000 (v - base) / (top - base), the mean over the tasks, with the "
            "SUPERB leaderboard's formula and reference points (errors v as 100 - v). The "
            "leaderboard's own score is of ten tasks: never compare the two."
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
            "* after a difference: significant at 0.05, corrected for the rows of its task."
        )
    return notes
