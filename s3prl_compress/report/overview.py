"""All tasks of the same conditions side by side: the table that goes into a paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..results.records import TimeRecord
from . import four_task
from .costs import with_fronts
from .overview_table import overview_table
from .roles import with_roles
from .rows import OverviewRow, Row
from .speed import with_speed
from .table_model import Table


@dataclass(frozen=True)
class OverviewGroup:
    """The blocks of one engine, padding and recipe, and the overview of their tasks."""

    title: str
    tables: tuple[Table[Row], ...]
    """One block per task, in the 4-task score's order, then further blocks of these tasks."""
    overview: Table[OverviewRow] | None
    """All tasks side by side; None if there is only one."""


def groups(tables: Sequence[Table[Row]], times: Sequence[TimeRecord]) -> list[OverviewGroup]:
    """Group the blocks that share engine, padding and recipe.

    Where a task has several blocks (corpora, variants or settings), the overview shows one of the
    official corpus if there is any, and of several the one with the most rows. It names the corpora
    that it shows.
    """
    blocks: dict[tuple[str, str, str], list[Table[Row]]] = {}
    for table in tables:
        own = table.rows[0].conditions
        blocks.setdefault((own.engine, own.padding, own.recipe), []).append(table)
    return [_group(own, times) for _, own in sorted(blocks.items(), key=lambda item: item[0])]


def _group(blocks: Sequence[Table[Row]], times: Sequence[TimeRecord]) -> OverviewGroup:
    first = blocks[0].rows[0].conditions
    ordered = sorted(
        blocks, key=lambda table: (_rank(table), not _comparable(table), -len(table.lines))
    )
    chosen: dict[str, Table[Row]] = {}
    for table in ordered:
        chosen.setdefault(table.rows[0].task, table)
    title = f"{first.engine} engine, {first.padding} padding, recipe {first.recipe}"
    overview = _overview(title, chosen, times) if len(chosen) > 1 else None
    rest = [table for table in ordered if all(table is not one for one in chosen.values())]
    return OverviewGroup(title, (*chosen.values(), *rest), overview)


def _rank(table: Table[Row]) -> int:
    task = table.rows[0].task
    return four_task.TASKS.index(task) if task in four_task.TASKS else len(four_task.TASKS)


def _overview(
    title: str, chosen: Mapping[str, Table[Row]], times: Sequence[TimeRecord]
) -> Table[OverviewRow]:
    rows = with_roles(_merged(chosen))
    rows = with_speed(rows, times)
    rows = with_fronts(rows)
    rows = sorted(rows, key=lambda row: (row.peer, row.base, not row.reference, *_best_first(row)))
    rows = [replace(row, row=number) for number, row in enumerate(rows, start=1)]
    return overview_table(f"All tasks: {title}", rows, [table.rows for table in chosen.values()])


def _comparable(table: Table[Row]) -> bool:
    return not any(map(four_task.why_not_comparable, table.rows))


def _merged(chosen: Mapping[str, Table[Row]]) -> list[OverviewRow]:
    """Return one row per upstream, with the score over all tasks."""
    official = set(chosen) == set(four_task.TASKS) and all(map(_comparable, chosen.values()))
    metric = four_task.NAME if official else f"mean of {len(chosen)} tasks"
    tasks: dict[tuple[str, str], dict[str, Row]] = {}
    for task, table in chosen.items():
        for row in table.rows:
            tasks.setdefault((row.checkpoint_sha256, row.upstream), {})[task] = row
    return [_merged_row(metric, own, len(own) == len(chosen), official) for own in tasks.values()]


def _merged_row(
    metric: str, tasks: Mapping[str, Row], complete: bool, official: bool
) -> OverviewRow:
    """Return an upstream's row over its tasks, without a score unless it has all of them."""
    first = next(iter(tasks.values()))
    score, error = _combined(tasks, official) if complete else (None, None)
    return OverviewRow(
        tasks=tasks,
        metric=metric,
        higher_is_better=True,
        score=score,
        standard_error=error,
        upstream=first.upstream,
        base=first.base,
        methods=first.methods,
        random_weights=first.random_weights,
        source=first.source,
        checkpoint_sha256=first.checkpoint_sha256,
        parameters=first.parameters,
        nonzero_parameters=first.nonzero_parameters,
        macs_32=first.macs_32,
        bytes=first.bytes,
        approximate=any(row.approximate for row in tasks.values()),
    )


def _combined(tasks: Mapping[str, Row], official: bool) -> tuple[float, float]:
    """Return the score over all tasks and its standard error."""
    errors = {task: row.standard_error for task, row in tasks.items()}
    if official:
        return four_task.four_task_score({task: row.score for task, row in tasks.items()}, errors)
    scores = [four_task.oriented_score(row.score, row.higher_is_better) for row in tasks.values()]
    return sum(scores) / len(scores), math.hypot(*errors.values()) / len(errors)


def _best_first(row: OverviewRow) -> tuple[bool, float, str]:
    return row.score is None, -(row.score or 0.0), row.upstream
