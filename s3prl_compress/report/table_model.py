"""The tables as they are shown: the same cells for markdown, LaTeX and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import formats
from .rows import role_of

TASK_TITLES = {
    "ks": "Keyword spotting",
    "sid": "Speaker identification",
    "er": "Emotion recognition",
    "asr": "Speech recognition",
    "ctc": "Recognition by the model's own CTC head, not SUPERB's",
}
NOTHING = "\N{EN DASH}"
UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
"""Beside a metric's name: whether more or less of it is better."""


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

    text: str = NOTHING
    below: str = ""
    sort: float | str | None = None
    verdict: Literal["", "worse", "better"] = ""
    """Than dense, where that is significant."""


@dataclass(frozen=True)
class Line:
    """One row."""

    cells: tuple[Cell, ...]
    marks: str = ""
    """Letters of its footnotes."""
    reference: bool = False
    row: Mapping[str, Any] = field(default_factory=dict)
    """The figures themselves."""


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

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The figures of all lines, for plots."""
        return [dict(line.row) for line in self.lines]


COST_COLUMNS = (
    Column("parameters", "parameters", "zeros included; below it, the share of dense"),
    Column(
        "nonzero_parameters",
        "stored",
        "parameters in the file: all but the zeros of matrices that are stored sparsely",
    ),
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
)
_FRONT_NAMES = {"parameters": "parameters", "macs_32": "MACs", "time": "time"}
FRONT_COLUMN = Column(
    "front", "Pareto front", "costs for which no other row is cheaper and better", numeric=False
)


def verdict(row: Mapping[str, Any]) -> Literal["", "worse", "better"]:
    """Return what the paired test says of a row: nothing where it is not significant."""
    if not row["significant"]:
        return ""
    return "better" if (row["difference"] > 0) == row["higher_is_better"] else "worse"


def upstream_cell(row: Mapping[str, Any]) -> Cell:
    """Return an upstream's name above its methods, or above what it is."""
    return Cell(row["upstream"], role_of(row), row["upstream"].lower())


def cost_cell(key: str, row: Mapping[str, Any], reference: Mapping[str, Any] | None) -> Cell:
    """Return a cell of `COST_COLUMNS`, with the share of the reference's cost below it."""
    value = row[key]
    if value is None:
        return Cell("1" if key == "speedup" and row["reference"] and row["rtfx"] else NOTHING)
    if key == "speedup":
        return speedup_cell(row)
    if key == "rtfx":
        return Cell(formats.four_digits(value), "", value)
    whole = None
    if reference is not None and not row["reference"] and key != "nonzero_parameters":
        whole = reference[key]
    below = formats.percent(value / whole) if whole else ""
    write = {"bytes": formats.megabytes, "macs_32": formats.giga}.get(key, formats.count)
    return Cell(write(value), below, value)


def speedup_cell(row: Mapping[str, Any]) -> Cell:
    """Return a paired ratio above its interval."""
    below = ""
    if row["speedup_low"] is not None:
        below = f"{row['speedup_low']:.2f} to {row['speedup_high']:.2f}"
    return Cell(f"{row['speedup']:.2f}\N{MULTIPLICATION SIGN}", below, row["speedup"])


def front_cell(row: Mapping[str, Any]) -> Cell:
    """Return the costs on whose Pareto front a row lies; the more, the higher it sorts."""
    names = [_FRONT_NAMES[key] for key in row["front"]]
    return Cell(", ".join(names) or NOTHING, "", f"{9 - len(names)}{' '.join(names)}")


def without_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Undo pandas' NaN for what is not there."""
    return {
        key: None if isinstance(value, float) and value != value else value
        for key, value in row.items()
    }
