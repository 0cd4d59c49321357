"""Columns that several tables share: names, costs, speed and Pareto fronts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import formats
from .roles import reference_of, role_of
from .rows import Entry, Row
from .table_model import NOTHING, Cell, Column, Verdict

_FRONT_NAMES = {"parameters": "parameters", "macs_32": "MACs", "time": "time"}


def verdict(row: Row) -> Verdict:
    """Return what the test against dense says of a row: "" where it is not significant."""
    difference = row.significance.difference
    if not row.significant or difference is None:
        return ""
    return "better" if (difference > 0) == row.higher_is_better else "worse"


def speedup_cell(speedup: float | None, low: float | None, high: float | None) -> Cell:
    """Return a paired ratio above its interval, and say so if it is a loss of speed."""
    if speedup is None:
        return Cell()
    slower = " slower" if high is not None and high < 1 else ""
    below = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    return Cell(f"{speedup:.2f}\N{MULTIPLICATION SIGN}{slower}", below, speedup)


def any_value(key: str) -> Callable[[Sequence[Entry]], bool]:
    """Return the condition that any row has a figure of this name; see `Column.shown`."""
    return lambda rows: any(getattr(row, key) not in (None, (), "") for row in rows)


def any_speed(key: str) -> Callable[[Sequence[Entry]], bool]:
    """Return the condition that any row has a speed figure of this name; see `Column.shown`."""
    return lambda rows: any(getattr(row.speed, key) is not None for row in rows)


def _upstream(row: Entry, rows: Sequence[Entry]) -> Cell:
    """Return an upstream's name above its methods, or above what it is."""
    return Cell(row.upstream, role_of(row), row.upstream.lower())


def _cost(
    key: str, write: Callable[[float], str], *, with_share: bool = True
) -> Callable[[Entry, Sequence[Entry]], Cell]:
    """Return the cells of a counted cost, with the share of the reference's cost below it."""

    def cell(row: Entry, rows: Sequence[Entry]) -> Cell:
        value = getattr(row, key)
        if value is None:
            return Cell()
        reference = reference_of(row, rows)
        whole = None
        if with_share and reference is not None and not row.reference:
            whole = getattr(reference, key)
        return Cell(write(value), formats.percent(value / whole) if whole else "", value)

    return cell


def _speedup(row: Entry, rows: Sequence[Entry]) -> Cell:
    speed = row.speed
    if speed.speedup is None and row.reference and speed.rtfx:
        return Cell("1")
    return speedup_cell(speed.speedup, speed.speedup_low, speed.speedup_high)


def _front(row: Entry, rows: Sequence[Entry]) -> Cell:
    """Return the costs on whose Pareto front a row lies."""
    names = [_FRONT_NAMES[key] for key in row.front]
    # The sort key starts with a digit that falls with their number: an ascending sort of texts
    # puts rows on most fronts first.
    return Cell(", ".join(names) or NOTHING, "", f"{9 - len(names)}{' '.join(names)}")


NUMBER: Column[Entry] = Column("row", "#", "number of the row in the plots", in_papers=False)
UPSTREAM: Column[Entry] = Column(
    "upstream", "upstream", numeric=False, below="methods", cell=_upstream
)
PARAMETERS: Column[Entry] = Column(
    "parameters",
    "parameters",
    "zeros included; below it, the share of dense",
    cell=_cost("parameters", formats.count),
)
STORED: Column[Entry] = Column(
    "nonzero_parameters",
    "stored",
    "parameters in the file: all but the zeros of matrices that are stored sparsely",
    cell=_cost("nonzero_parameters", formats.count, with_share=False),
    shown=lambda rows: any(row.nonzero_parameters != row.parameters for row in rows),
    in_papers=False,
)
MACS: Column[Entry] = Column(
    "macs_32",
    "MACs",
    "multiply-adds over the leaderboard's 32 utterances, batch 1",
    cell=_cost("macs_32", formats.giga),
)
FILE_SIZE: Column[Entry] = Column(
    "bytes",
    "file size",
    "weights on disk, MB of 10^6 bytes",
    cell=_cost("bytes", formats.megabytes),
    in_papers=False,
)
RTFX: Column[Entry] = Column(
    "rtfx",
    "RTFx",
    "seconds of audio per second of computing, batch 1",
    best_high=True,
    value=lambda row: row.speed.rtfx,
    text=formats.four_digits,
    shown=any_speed("rtfx"),
    in_papers=False,
)
SPEEDUP: Column[Entry] = Column(
    "speedup",
    "speed-up",
    "median of the paired ratios to dense; below it, its 95 % interval",
    best_high=True,
    below="95 % interval",
    value=lambda row: row.speed.speedup,
    cell=_speedup,
    shown=any_speed("speedup"),
)
FRONT: Column[Entry] = Column(
    "front",
    "Pareto front",
    "costs for which no other row is cheaper and better",
    numeric=False,
    cell=_front,
    in_papers=False,
)
