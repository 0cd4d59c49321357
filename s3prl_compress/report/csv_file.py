"""The leaderboard as CSV: one line per row, every figure at full precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas

from . import task_table
from .rows import Row, SpeedRow


def csv(rows: Sequence[Row], speeds: Sequence[tuple[str, Sequence[SpeedRow]]]) -> str:
    """Return `leaderboard.leaderboard`'s rows as CSV; without scores, the measured speeds instead.

    Where each line came from (machine, versions, commit, date, command) stands in its own columns,
    so that the file reads back with `pandas.read_csv` and nothing else.
    """
    table = data_frame(rows) if rows else _speed_frame(speeds)
    table = table.assign(notes=["; ".join(notes) for notes in table["notes"]])
    for column in ("p_segments", "compared_rows", "error_speakers"):
        if column in table:
            table[column] = table[column].astype("Int64")  # whole numbers beside missing ones
    for column, separator in (("front", ", "), ("fold_sizes", " "), ("layer_weights", " ")):
        if column in table:
            table[column] = [separator.join(map(str, values)) for values in table[column]]
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text


def data_frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """Return rows as a data frame: their figures, then the columns of tables beyond these."""
    return pandas.DataFrame([_figures(row) for row in rows])


def _figures(row: Row) -> Mapping[str, object]:
    figures = row.figures()
    further = [column for column in task_table.COLUMNS if column.key not in figures]
    return figures | {column.key: column.value_of(row) for column in further}


def _speed_frame(speeds: Sequence[tuple[str, Sequence[SpeedRow]]]) -> pandas.DataFrame:
    return pandas.DataFrame(
        [row.figures() | {"identity": identity} for identity, rows in speeds for row in rows]
    )
