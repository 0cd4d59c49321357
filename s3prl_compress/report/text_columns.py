"""Columns of recognised texts: a second error rate with its test, and the errors by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..statistics.metrics import MISLEADING_WER
from .companions import leads_as_companion, with_companion_first
from .rows import Row
from .score_cells import decimals_for, difference_cell, p_value_cell, score_cell
from .table_model import Cell, Column


def lead_notes(rows: Sequence[Row]) -> list[str]:
    """Return a note that says why characters lead a table of word errors."""
    companion = rows[0].companion
    if companion is None or not leads_as_companion(rows[0]):
        return []
    name, recorded = _metric_name(rows[0].metric), _metric_name(companion.metric)
    return [
        f"{name} leads this table, and rows are sorted by it, because the dense {recorded} is "
        f"above {MISLEADING_WER:g}: near 100, a model that writes less gains by making fewer "
        f"insertions, so the order by {recorded} is misleading."
    ]


def _metric_name(label: str) -> str:
    return label.partition(" (")[0]


def _by_companion(
    cell: Callable[[Row, Sequence[Row]], Cell],
) -> Callable[[Row, Sequence[Row]], Cell]:
    """Return the cells of a column for the rows' second metric."""

    def companion_cell(row: Row, rows: Sequence[Row]) -> Cell:
        if row.companion is None:
            return Cell()
        return cell(with_companion_first(row), list(map(with_companion_first, rows)))

    return companion_cell


def any_companion(rows: Sequence[Row]) -> bool:
    """Whether any row has a second metric."""
    return any(row.companion is not None for row in rows)


def _any_companion_difference(rows: Sequence[Row]) -> bool:
    companions = [row.companion for row in rows if row.companion is not None]
    return any(one.significance.difference is not None for one in companions)


def _named_after_companion(column: Column[Row], rows: Sequence[Row]) -> Column[Row]:
    """Let a column's label start with the name of the rows' second metric."""
    metrics = [row.companion.metric for row in rows if row.companion is not None]
    return replace(column, label=f"{_metric_name(metrics[0])} {column.label}".strip())


def _edits(place: int) -> Callable[[Row, Sequence[Row]], Cell]:
    """Return the cells of one kind of error: in words, above the same in characters."""

    def cell(row: Row, rows: Sequence[Row]) -> Cell:
        if "words" not in row.edits:
            return Cell()
        decimals, words = decimals_for(rows), row.edits["words"][place]
        characters = row.edits.get("characters")
        below = "" if characters is None else f"{characters[place]:.{decimals}f}"
        return Cell(f"{words:.{decimals}f}", below, words)

    return cell


def _edit_column(key: str, label: str, place: int) -> Column[Row]:
    return Column(
        key,
        label,
        f"{key} in percent of the words; below it, of the characters",
        below="characters",
        value=lambda row: row.edits["words"][place] if "words" in row.edits else None,
        cell=_edits(place),
        shown=lambda rows: any(row.edits for row in rows),
        in_papers=False,
    )


TEXT_COLUMNS: tuple[Column[Row], ...] = (
    Column(
        "companion_score",
        "",
        "\N{PLUS-MINUS SIGN} standard error; below it, the 95 % interval",
        below="95 % interval",
        value=lambda row: None if row.companion is None else row.companion.score,
        cell=_by_companion(score_cell),
        shown=any_companion,
        heading=_named_after_companion,
    ),
    Column(
        "companion_difference",
        "difference",
        "from the dense upstream, in points; below it, the 95 % interval",
        below="its interval",
        value=lambda row: None if row.companion is None else row.companion.significance.difference,
        cell=_by_companion(difference_cell),
        shown=_any_companion_difference,
        heading=_named_after_companion,
    ),
    Column(
        "companion_p_value",
        "p",
        "two-sided, of the test against dense; below it, corrected for the number of rows",
        below="corrected",
        value=lambda row: None if row.companion is None else row.companion.significance.p_value,
        cell=_by_companion(p_value_cell),
        shown=_any_companion_difference,
        heading=_named_after_companion,
    ),
    _edit_column("substitutions", "sub.", 0),
    _edit_column("deletions", "del.", 1),
    _edit_column("insertions", "ins.", 2),
)
"""In their order; the name of the second metric is that of the rows."""
