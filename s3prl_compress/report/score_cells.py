"""Cells of a score: with its error and interval, its difference from dense, and the test."""

from __future__ import annotations

from collections.abc import Sequence

from . import formats
from .columns import verdict
from .notes import ALMOST
from .rows import Entry, Row
from .table_model import Cell
from .uncertainty import ONE_SEED


def score_text(row: Entry, decimals: int) -> str:
    """Return a score with its standard error, marked where it is approximate."""
    if row.score is None:
        return Cell().text
    mark = f"{ALMOST} " if row.approximate else ""
    return mark + formats.score(row.score, row.standard_error, decimals)


def decimals_for(rows: Sequence[Row]) -> int:
    """Return the number of decimals that the scores of a block justify."""
    return formats.decimals_for([row.standard_error for row in rows])


def score_cell(row: Row, rows: Sequence[Row]) -> Cell:
    """Return a score and its standard error above its 95 % interval."""
    decimals = decimals_for(rows)
    interval = f"{row.score_low:.{decimals}f} to {row.score_high:.{decimals}f}"
    return Cell(score_text(row, decimals), interval, row.score)


def difference_cell(row: Row, rows: Sequence[Row]) -> Cell:
    """Return a score's difference from dense above its 95 % interval."""
    tested, decimals = row.significance, decimals_for(rows)
    if tested.difference is None:
        return Cell()
    ends = (tested.difference_low, tested.difference_high)
    below = " to ".join(formats.signed(end, decimals) for end in ends if end is not None)
    text = formats.signed(tested.difference, decimals)
    return Cell(text, below, tested.difference, verdict(row))


def p_value_cell(row: Row, rows: Sequence[Row]) -> Cell:
    """Return the p value of a difference above the corrected one."""
    tested = row.significance
    if tested.resolution == ONE_SEED:
        return Cell(ONE_SEED)
    if tested.p_value is None or tested.p_corrected is None:
        return Cell()
    below = formats.p_value(tested.p_corrected)
    return Cell(formats.p_value(tested.p_value), below, tested.p_value, verdict(row))
