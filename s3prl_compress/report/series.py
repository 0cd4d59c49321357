"""The look of rows in a plot: a colour and a marker for each method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .roles import method_names
from .rows import Entry

COLOURS = 6
"""Colours of the page's style sheet; further methods repeat them with other markers."""

_MARKERS = (("o", 9.0), ("s", 8.0), ("^", 9.5), ("D", 7.5), ("v", 9.5), ("P", 10.0))


@dataclass(frozen=True)
class Look:
    """A marker, and its class in the style sheet, which gives its colour."""

    marker: str
    """As matplotlib names it."""
    size: float
    """In units of the drawing."""
    style: str


DENSE = Look("*", 15.0, "dense")
PEER = Look("h", 10.0, "peer")
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
    return Look(*marker, f"series-{number % COLOURS + 1}")
