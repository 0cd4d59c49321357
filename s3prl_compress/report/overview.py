"""All tasks of the same conditions side by side: the table that goes into a paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results.records import TimeRecord
from . import four_task
from .costs import attach_fronts
from .overview_table import overview_table
from .rows import mark_roles
from .speed import attach_speed
from .table_model import Table

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

    Where a task has several blocks (corpora, variants or settings), one of the official corpus
    stands in the overview, of several the one with the most rows; the overview says which corpora
    it is of.
    """
    found: dict[tuple[str, str, str], list[Table]] = {}
    for table in tables:
        row = table.lines[0].row
        found.setdefault((row["engine"], row["padding"], row["recipe"]), []).append(table)
    return [_group(blocks, times) for _, blocks in sorted(found.items())]


def _group(blocks: Sequence[Table], times: Sequence[TimeRecord]) -> Group:
    first = blocks[0].lines[0].row
    ordered = sorted(
        blocks, key=lambda table: (_rank(table), not _comparable(table), -len(table.lines))
    )
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
    official = set(chosen) == set(four_task.TASKS) and all(map(_comparable, chosen.values()))
    for row in rows:
        row["metric"] = four_task.NAME if official else f"mean of {len(chosen)} tasks"
        row["score"], row["standard_error"] = _combined(row["tasks"], chosen, official)
    attach_speed(rows, list(times))
    attach_fronts(rows)
    rows.sort(key=lambda row: (row["peer"], row["base"], not row["reference"], *_best_first(row)))
    for number, row in enumerate(rows, start=1):
        row["row"] = number
    return overview_table(f"All tasks: {title}", rows, [table.rows for table in chosen.values()])


def _comparable(table: Table) -> bool:
    return not any(four_task.why_not_comparable(line.row) for line in table.lines)


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
