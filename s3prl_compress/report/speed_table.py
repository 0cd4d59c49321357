"""The measured speeds of one identity, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas

from . import formats
from .notes import footnotes
from .table_model import Cell, Column, Line, Table, speedup_cell, without_nan


def speed_table(identity: str, frame: pandas.DataFrame) -> Table:
    """Return one table of `speed.speed_tables`."""
    rows = [without_nan(row) for row in frame.to_dict("records")]
    names = [name.removeprefix("rtfx_") for name in frame.columns if name.startswith("rtfx_")]
    columns = (
        Column("upstream", "upstream", numeric=False),
        Column("against", "against", numeric=False),
        *(
            Column(f"rtfx_{name}", f"RTFx {name}", _bucket_words(name), best_high=True)
            for name in names
        ),
        Column(
            "speedup",
            "speed-up",
            "median of the paired ratios over all utterances",
            best_high=True,
            below="95 % interval",
        ),
        Column("peak_memory_bytes", "peak memory", "of a forward pass, weights not counted"),
    )
    shared, own, marks = footnotes([tuple(f"{n}." for n in row["notes"]) for row in rows])
    lines = tuple(
        Line(tuple(_cell(column.key, row) for column in columns), mark, row=row)
        for row, mark in zip(rows, marks, strict=True)
    )
    return Table("Speed", (identity,), columns, lines, tuple(shared), tuple(own))


def _cell(key: str, row: Mapping[str, Any]) -> Cell:
    value = row[key]
    if value is None:
        return Cell()
    if key in ("upstream", "against"):
        return Cell(value, "", value.lower())
    if key == "speedup":
        return speedup_cell(row)
    if key == "peak_memory_bytes":
        return Cell(formats.megabytes(value), "", value)
    return Cell(formats.four_digits(value), "", value)


def _bucket_words(name: str) -> str:
    return {
        "all": "over all utterances, one at a time",
        "batched": "all utterances in padded batches",
    }.get(name, f"the {name} utterances, one at a time")
