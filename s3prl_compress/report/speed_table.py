"""The measured speeds of one machine and setting, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import formats
from .columns import speedup_cell
from .rows import SpeedRow
from .table_model import Cell, Column, Table, make_table


def speed_table(identity: str, rows: Sequence[SpeedRow]) -> Table[SpeedRow]:
    """Return one table of `speed.speed_tables`."""
    buckets = list(dict.fromkeys(name for row in rows for name in row.rtfx))
    columns: tuple[Column[SpeedRow], ...] = (
        Column("upstream", "upstream", numeric=False, cell=_name(lambda row: row.upstream)),
        Column("against", "against", numeric=False, cell=_name(lambda row: row.against)),
        *map(_rtfx_column, buckets),
        Column(
            "speedup",
            "speed-up",
            "median of the paired ratios over all utterances",
            best_high=True,
            below="95 % interval",
            cell=lambda row, rows: speedup_cell(row.speedup, row.speedup_low, row.speedup_high),
        ),
        Column(
            "peak_memory_bytes",
            "peak memory",
            "of a forward pass, weights not counted",
            text=formats.megabytes,
        ),
    )
    return make_table(
        "Speed",
        (identity,),
        columns,
        rows,
        row_notes=lambda row: tuple(f"{note}." for note in row.notes),
    )


def _rtfx_column(bucket: str) -> Column[SpeedRow]:
    explanation = {
        "all": "over all utterances, one at a time",
        "batched": "all utterances in padded batches",
        "encoder": "the encoder by itself, one window at a time",
        "encoder, batched": "the encoder by itself, in batches",
    }.get(bucket, f"the {bucket} utterances, one at a time")
    return Column(
        f"rtfx_{bucket}",
        f"RTFx {bucket}",
        explanation,
        best_high=True,
        value=lambda row: row.rtfx.get(bucket),
        text=formats.four_digits,
    )


def _name(
    name_of: Callable[[SpeedRow], str | None],
) -> Callable[[SpeedRow, Sequence[SpeedRow]], Cell]:
    """Return the cells of an upstream's name, sorted without regard to case."""

    def cell(row: SpeedRow, rows: Sequence[SpeedRow]) -> Cell:
        name = name_of(row)
        return Cell() if name is None else Cell(name, "", name.lower())

    return cell
