"""All tasks side by side, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import formats, four_task
from .columns import FRONT, MACS, NUMBER, PARAMETERS, RTFX, SPEEDUP, UPSTREAM, any_value, verdict
from .notes import APPROXIMATE, RANDOM_WEIGHTS
from .rows import OverviewRow, Row
from .score_cells import decimals_for, score_text
from .table_model import DOWN, UP, Cell, Column, Table, make_table
from .task_table import timing_notes
from .uncertainty_notes import detectable_text


def overview_table(
    title: str, rows: Sequence[OverviewRow], blocks: Sequence[Sequence[Row]]
) -> Table[OverviewRow]:
    """Return the table of all tasks.

    Args:
        title: of the table.
        rows: one per upstream, in their order.
        blocks: each task's rows, in the order of the columns.
    """
    columns: tuple[Column[OverviewRow], ...] = (
        NUMBER,
        UPSTREAM,
        Column(
            "score",
            rows[0].metric,
            "\N{PLUS-MINUS SIGN} standard error",
            best_high=True,
            cell=_score,
        ),
        *(_task_column(block) for block in blocks),
        replace(PARAMETERS, shown=any_value("parameters")),
        replace(MACS, shown=any_value("macs_32")),
        RTFX,
        SPEEDUP,
        FRONT,
    )
    return make_table(
        title,
        [f"{row.task.upper()}: {row.metric}, {row.conditions.corpus}" for row, *_ in blocks],
        columns,
        rows,
        notes=(*_notes(rows), *timing_notes(rows)),
        row_notes=lambda row: row.notes,
    )


def _task_column(block: Sequence[Row]) -> Column[OverviewRow]:
    """Return the column of a task: its score above its difference from dense."""
    task, higher, decimals = block[0].task, block[0].higher_is_better, decimals_for(block)
    return Column(
        f"task-{task}",
        f"{task.upper()} {UP if higher else DOWN}",
        "\N{PLUS-MINUS SIGN} standard error; below it, the difference from dense",
        best_high=higher,
        cell=lambda row, rows: _task_cell(row.tasks.get(task), decimals),
    )


def _task_cell(row: Row | None, decimals: int) -> Cell:
    """Return a task's score above its difference from dense, with a star where significant."""
    if row is None:
        return Cell()
    below, difference = "", row.significance.difference
    if difference is not None:
        below = f"{formats.signed(difference, decimals)}{'*' if row.significant else ''}"
    return Cell(score_text(row, decimals), below, row.score, verdict(row))


def _score(row: OverviewRow, rows: Sequence[OverviewRow]) -> Cell:
    if row.score is None or row.standard_error is None:
        return Cell()
    decimals = formats.decimals_for([row.standard_error])
    return Cell(score_text(row, decimals), "", row.score)


def _limits(rows: Sequence[OverviewRow]) -> str:
    """Return the smallest detectable differences of each task."""
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        for name, task in row.tasks.items():
            tasks.setdefault(name, []).append(task)
    limits = {name: detectable_text(own) for name, own in tasks.items()}
    listed = "; ".join(f"{name.upper()} {text}" for name, text in limits.items() if text)
    return f"the smallest detectable differences (power 80 %) are: {listed}."


def _notes(rows: Sequence[OverviewRow]) -> list[str]:
    notes, metric = [], rows[0].metric
    if metric == four_task.NAME:
        notes.append(
            "4-task score: 1000 (v - base) / (top - base), the mean over the tasks, with the "
            "SUPERB leaderboard's formula and reference points (an error rate enters as 100 minus "
            "the rate). The leaderboard's own score is over ten tasks: never compare the two. The "
            "standard error combines those of the tasks, over seeds and speakers."
        )
    else:
        notes.append(
            f"{metric.capitalize()}: unweighted; an error rate enters as 100 minus the rate. It is "
            f"not the 4-task score, and {four_task.NOT_COMPARABLE}."
        )
    if any(row.approximate for row in rows):
        notes.append(APPROXIMATE)
    if any(row.random_weights for row in rows):
        notes.append(RANDOM_WEIGHTS)
    if any(task.significant is not None for row in rows for task in row.tasks.values()):
        notes.append(
            "* marks a difference that is significant at 0.05, corrected for the rows of its task. "
            "Any other difference is not resolved or was not tested (see the task's own table); "
            f"{_limits(rows)}"
        )
    return notes
