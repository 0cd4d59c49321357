"""The costs that a score can be drawn against, and which rows no other row beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CostAxis:
    """A cost that a score can be drawn against."""

    key: str
    """What a page calls it: three costs can be chosen, and one of them is the time."""
    label: str
    units: tuple[tuple[float, str], ...] = ()
    """Sizes and names of the units that its ticks may be in, largest first."""

    def unit(self, largest: float) -> tuple[float, str]:
        """Return the unit for an axis that ends at `largest`: its size, and the axis label."""
        for size, name in self.units:
            if largest >= size:
                return size, f"{self.label} ({name})"
        return 1.0, self.label

    def value(self, row: dict[str, Any]) -> float | None:
        """Return a row's cost, None where it is not known."""
        if self is TIME:
            return None if not row["rtfx"] else 1000 / row["rtfx"]
        column = "relative_time" if self is RELATIVE_TIME else self.key
        return None if row.get(column) is None else float(row[column])

    def interval(self, row: dict[str, Any]) -> tuple[float, float] | None:
        """Return the 95 % interval of a measured cost; a counted one has none."""
        if self is not RELATIVE_TIME or row["relative_time_low"] is None:
            return None
        return row["relative_time_low"], row["relative_time_high"]


PARAMETERS = CostAxis("parameters", "parameters", ((1e6, "millions"), (1e3, "thousands")))
MACS = CostAxis("macs_32", "multiply-adds, 32 utterances", ((1e9, "G"), (1e6, "M")))
RELATIVE_TIME = CostAxis("time", "measured time, dense = 1")
TIME = CostAxis("time", "milliseconds per second of audio")
CHOICES = {"parameters": "parameters", "macs_32": "MACs", "time": "measured time"}
"""What a reader of a page chooses from: the axes' keys, and their names."""


def drawable(rows: Sequence[dict[str, Any]]) -> dict[CostAxis, list[dict[str, Any]]]:
    """Return the axes that at least two rows have a place on, with those rows.

    Of the two times it is the relative one wherever pairs were measured: what else the machine
    did in another run is not in it.
    """
    known = {
        axis: [row for row in rows if axis.value(row) is not None]
        for axis in (PARAMETERS, MACS, RELATIVE_TIME, TIME)
    }
    drawn = {axis: some for axis, some in known.items() if len(some) > 1}
    if RELATIVE_TIME in drawn:
        drawn.pop(TIME, None)
    return drawn


def pareto_front(rows: Sequence[dict[str, Any]], axis: CostAxis) -> list[dict[str, Any]]:
    """Return the rows that no other row beats, cheapest first.

    A row beats another if it costs no more, scores no worse and is better in one of the two.
    Point estimates count, without their intervals.
    """
    best: list[dict[str, Any]] = []

    def merit(row: dict[str, Any]) -> float:
        return float(row["score"]) if row["higher_is_better"] else -float(row["score"])

    known = [row for row in rows if axis.value(row) is not None and row["score"] is not None]
    for row in sorted(known, key=lambda row: (axis.value(row), -merit(row))):
        if not best or merit(row) > merit(best[-1]):
            best.append(row)
        elif axis.value(row) == axis.value(best[-1]) and merit(row) == merit(best[-1]):
            best.append(row)  # equal in both: neither beats the other
    return best


def attach_fronts(rows: list[dict[str, Any]]) -> None:
    """Fill in `front` of a block's rows, in place: keys of the costs on whose front a row lies."""
    for row in rows:
        row["front"] = ()
    for axis, drawn in drawable(rows).items():
        for row in pareto_front(drawn, axis):
            row["front"] = (*row["front"], axis.key)
