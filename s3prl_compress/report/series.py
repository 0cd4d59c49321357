"""The look of rows in a plot: a colour and a marker for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .roles import method_names
from .rows import Entry

COLOURS = 6
"""Colours of the page's style sheet; further methods repeat them with other markers."""

# Outlines about 10 units wide around 0, 0.
_MARKERS = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "M-4-4H4V4H-4z",
    "M0-5.2L5 4H-5z",
    "M0-5.6L5.2 0 0 5.6-5.2 0z",
    "M0 5.2L5-4H-5z",
    "M-1.8-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8z",
)
_STAR = "M0-7L2-2.3 7-2 3.2 1.2 4.4 6 0 3.4-4.4 6-3.2 1.2-7-2-2-2.3z"


@dataclass(frozen=True)
class Look:
    """A marker's outline, and its class in the style sheet, which gives its colour."""

    outline: str
    style: str


DENSE = Look(_STAR, "dense")
PEER = Look("M0-5.2L4.5-2.6V2.6L0 5.2-4.5 2.6V-2.6z", "peer")
_DENSE, _PEER = "dense", "no method"
_OTHERS = {_DENSE: DENSE, _PEER: PEER}


def method_of(row: Entry) -> str:
    """Return the names of a row's methods without their settings; else "dense" or "no method"."""
    return " + ".join(method_names(row.methods)) or (_DENSE if row.reference else _PEER)


def series_of(rows: Sequence[Entry]) -> dict[str, Look]:
    """Return the look of every method among the rows, dense first, then alphabetically."""
    names = {method_of(row) for row in rows}
    others = {name: shape for name, shape in _OTHERS.items() if name in names}
    ours = sorted(names - set(_OTHERS))
    return others | {name: look(number) for number, name in enumerate(ours)}


def look(number: int) -> Look:
    """Return the look of the method with this number; 36 differ before one is repeated."""
    marker = _MARKERS[(number + number // COLOURS) % len(_MARKERS)]
    return Look(marker, f"series-{number % COLOURS + 1}")
