"""The tables as they are shown: the same cells for markdown and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas

from . import formats
from .notes import footnotes

TASK_TITLES = {
    "ks": "Keyword spotting",
    "sid": "Speaker identification",
    "er": "Emotion recognition",
    "asr": "Speech recognition",
}


@dataclass(frozen=True)
class Column:
    """One column of a shown table."""

    key: str
    label: str
    explanation: str = ""
    numeric: bool = True
    best_high: bool = False
    """Sorting starts with the highest."""
    below: str = ""
    """What the second line of its cells is; a column of its own in markdown."""


@dataclass(frozen=True)
class Cell:
    """One figure: what is read, what stands below it, and what it is sorted by."""

    text: str = ""
    below: str = ""
    sort: float | str | None = None


@dataclass(frozen=True)
class Line:
    """One row."""

    cells: tuple[Cell, ...]
    marks: str = ""
    """Letters of its footnotes."""
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """One block, ready to be written down."""

    title: str
    facts: tuple[str, ...]
    """What all rows share, in a few words each."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    """Hold for every row."""
    footnotes: tuple[tuple[str, str], ...] = ()
    """(letter, note) for those rows that carry the letter."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The figures themselves, for plots."""


SCORE_COLUMNS = (
    Column("row", "#", "number of the row in the plots"),
    Column("upstream", "upstream", numeric=False, below="methods"),
    Column(
        "score",
        "score",
        "\N{PLUS-MINUS SIGN} standard error; below it, the difference to dense",
        best_high=True,
        below="difference to dense",
    ),
    Column("parameters", "parameters", "stored numbers; below it, the share of dense"),
    Column("nonzero_parameters", "non-zeros", "parameters that are not zero"),
    Column("macs_32", "MACs", "multiply-adds over the leaderboard's 32 utterances, batch 1"),
    Column("bytes", "file size", "weights on disk, MB of 10^6 bytes"),
    Column("rtfx", "RTFx", "seconds of audio per second of computing, batch 1", best_high=True),
    Column(
        "speedup",
        "speed-up",
        "median paired ratio to dense; below it, its 95 % interval",
        best_high=True,
        below="95 % interval",
    ),
    Column("learning_rate", "learning rate", "chosen on dev"),
    Column("engine", "engine", "below it, the padding rule", numeric=False, below="padding"),
    Column("seeds", "seeds", "one run per seed; the score is their mean", numeric=False),
)


def score_tables(frame: pandas.DataFrame) -> list[Table]:
    """Return one table per block of `leaderboard.leaderboard`."""
    if frame.empty:
        return []
    return [
        _score_table([_without_nan(row) for row in group.to_dict("records")])
        for _, group in frame.groupby("block", sort=True)
    ]


def speed_table(identity: str, frame: pandas.DataFrame) -> Table:
    """Return one table of `speed.speed_tables`."""
    rows = [_without_nan(row) for row in frame.to_dict("records")]
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
        Line(tuple(_speed_cell(column.key, row) for column in columns), mark)
        for row, mark in zip(rows, marks, strict=True)
    )
    return Table("Speed", (identity,), columns, lines, tuple(shared), tuple(own), rows)


def _score_table(rows: list[dict[str, Any]]) -> Table:
    first = rows[0]
    decimals = formats.decimals_for([row["standard_error"] for row in rows])
    kept = [column for column in SCORE_COLUMNS if _has(column.key, rows)]
    shared, own, marks = footnotes([tuple(row["notes"]) for row in rows])
    lines = []
    for row, mark in zip(rows, marks, strict=True):
        reference = next(
            (other for other in rows if other["reference"] and other["base"] == row["base"]), None
        )
        cells = tuple(_score_cell(column.key, row, reference, decimals) for column in kept)
        lines.append(Line(cells, mark, bool(row["reference"])))
    timings = list(dict.fromkeys(row["timing"] for row in rows if row["timing"]))
    if timings:
        shared.append(
            f"RTFx and speed-up: {timings[0]}. The speed-up is of pairs in one run; RTFx is not, "
            "so it also holds what else the machine did."
        )
    return Table(
        title=f"{TASK_TITLES.get(first['task'], first['task'])}: {first['engine']} engine, "
        f"{first['padding']} padding",
        facts=(
            f"{first['metric']}",
            f"task {first['task']} v{first['task_version']}, {first['variant']}",
            f"recipe {first['recipe']}",
            f"corpus {first['corpus']} ({first['corpus_fingerprint'][:8]})",
            f"{first['test_size']} test utterances",
            f"chance {first['chance']:.1f}",
        ),
        columns=tuple(kept),
        lines=tuple(lines),
        notes=tuple(shared),
        footnotes=tuple(own),
        rows=rows,
    )


def _score_cell(
    key: str, row: dict[str, Any], reference: dict[str, Any] | None, decimals: int
) -> Cell:
    value = row[key]
    if key == "upstream":
        return Cell(value, row["methods"] or "dense", value.lower())
    if key == "score":
        mark = "\N{ALMOST EQUAL TO} " if row["approximate"] else ""
        error = f"{row['standard_error']:.{decimals}f}"
        below = "" if row["difference"] is None else formats.signed(row["difference"], decimals)
        return Cell(f"{mark}{value:.{decimals}f} \N{PLUS-MINUS SIGN} {error}", below, value)
    if key == "seeds":
        count = row["seed_count"]
        return Cell(value, f"mean of {count}" if count > 1 else "", count)
    if key == "learning_rate":
        rates = [float(rate) for rate in value.split()]
        return Cell(" ".join(map(formats.learning_rate, rates)), "", rates[0])
    if key == "engine":
        return Cell(value, row["padding"], value)
    if key == "row":
        return Cell(str(value), "", value)
    if value is None:
        return Cell("1" if key == "speedup" and row["reference"] and row["rtfx"] else "\N{EN DASH}")
    if key == "speedup":
        return _speedup(row)
    if key == "rtfx":
        return Cell(formats.four_digits(value), "", value)
    whole = None if reference is None or reference is row else reference[key]
    below = formats.percent(value / whole) if whole and key != "nonzero_parameters" else ""
    write = {"bytes": formats.megabytes, "macs_32": formats.giga}.get(key, formats.count)
    return Cell(write(value), below, value)


def _speed_cell(key: str, row: dict[str, Any]) -> Cell:
    value = row[key]
    if value is None:
        return Cell("\N{EN DASH}")
    if key in ("upstream", "against"):
        return Cell(value, "", value.lower())
    if key == "speedup":
        return _speedup(row)
    if key == "peak_memory_bytes":
        return Cell(formats.megabytes(value), "", value)
    return Cell(formats.four_digits(value), "", value)


def _speedup(row: dict[str, Any]) -> Cell:
    below = ""
    if row["speedup_low"] is not None:
        below = f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}"
    return Cell(f"{row['speedup']:.2f}\N{MULTIPLICATION SIGN}", below, row["speedup"])


def _has(key: str, rows: Sequence[dict[str, Any]]) -> bool:
    """A column of measured speed is left out where nothing was timed."""
    return key not in ("rtfx", "speedup") or any(row[key] is not None for row in rows)


def _bucket_words(name: str) -> str:
    return {
        "all": "over all utterances, one at a time",
        "batched": "all utterances in padded batches",
    }.get(name, f"the {name} utterances, one at a time")


def _without_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Undo pandas' NaN for what is not there."""
    return {
        key: None if isinstance(value, float) and value != value else value
        for key, value in row.items()
    }
