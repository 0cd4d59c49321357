"""The costs that a score can be drawn against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CostAxis:
    """A cost that a score can be drawn against."""

    key: str
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
        if self.key == "milliseconds":
            return None if not row["rtfx"] else 1000 / row["rtfx"]
        return None if row.get(self.key) is None else float(row[self.key])

    def interval(self, row: dict[str, Any]) -> tuple[float, float] | None:
        """Return the 95 % interval of a measured cost; a counted one has none."""
        if self.key != "relative_time" or row["relative_time_low"] is None:
            return None
        return row["relative_time_low"], row["relative_time_high"]


COSTS = (
    CostAxis("parameters", "parameters", ((1e6, "millions"), (1e3, "thousands"))),
    CostAxis("macs_32", "multiply-adds, 32 utterances", ((1e9, "G"), (1e6, "M"))),
)
RELATIVE_TIME = CostAxis("relative_time", "measured time, dense = 1")
TIME = CostAxis("milliseconds", "milliseconds per second of audio")


def drawable(rows: Sequence[dict[str, Any]]) -> dict[CostAxis, list[dict[str, Any]]]:
    """Return the axes that at least two rows have a place on, with those rows.

    Of the two times it is the relative one wherever pairs were measured: what else the machine
    did in another run is not in it.
    """
    known = {
        axis: [row for row in rows if axis.value(row) is not None]
        for axis in (*COSTS, RELATIVE_TIME, TIME)
    }
    drawn = {axis: some for axis, some in known.items() if len(some) > 1}
    if RELATIVE_TIME in drawn:
        drawn.pop(TIME, None)
    return drawn
