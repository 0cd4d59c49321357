"""Costs that a score can be drawn against, and the Pareto fronts of score and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .rows import Entry

EntryT = TypeVar("EntryT", bound=Entry)


@dataclass(frozen=True)
class CostAxis:
    """A cost that a score can be drawn against."""

    key: str
    """Key of the page's choice of costs; both times share one."""
    label: str
    units: tuple[tuple[float, str], ...] = ()
    """(size, name) of the units that ticks may be in, largest first."""

    def unit(self, largest: float) -> tuple[float, str]:
        """Return the unit for an axis that ends at `largest`: its size, and the axis label."""
        for size, name in self.units:
            if largest >= size:
                return size, f"{self.label} ({name})"
        return 1.0, self.label

    def value(self, row: Entry) -> float | None:
        """Return a row's cost, None where it is not known."""
        if self is TIME:
            return 1000 / row.speed.rtfx if row.speed.rtfx else None
        cost = row.speed.relative_time if self is RELATIVE_TIME else getattr(row, self.key)
        return None if cost is None else float(cost)

    def interval(self, row: Entry) -> tuple[float, float] | None:
        """Return the 95 % interval of a measured cost; a counted one has none."""
        low, high = row.speed.relative_time_low, row.speed.relative_time_high
        if self is not RELATIVE_TIME or low is None or high is None:
            return None
        return low, high


PARAMETERS = CostAxis("parameters", "parameters", ((1e6, "millions"), (1e3, "thousands")))
MACS = CostAxis("macs_32", "multiply-adds, 32 utterances", ((1e9, "G"), (1e6, "M")))
RELATIVE_TIME = CostAxis("time", "measured time, dense = 1")
TIME = CostAxis("time", "milliseconds per second of audio")
CHOICES = {"parameters": "parameters", "macs_32": "MACs", "time": "measured time"}
"""The page's choice of costs: keys of the axes, and their names."""


def drawable(rows: Sequence[EntryT]) -> dict[CostAxis, list[EntryT]]:
    """Return the axes on which at least two rows have a value, with those rows.

    Of the two times the relative one is preferred wherever pairs were measured, because other load
    on the machine cancels out of a pair.
    """
    known = {
        axis: [row for row in rows if axis.value(row) is not None]
        for axis in (PARAMETERS, MACS, RELATIVE_TIME, TIME)
    }
    drawn = {axis: some for axis, some in known.items() if len(some) > 1}
    if RELATIVE_TIME in drawn:
        drawn.pop(TIME, None)
    return drawn


def pareto_front(rows: Sequence[EntryT], axis: CostAxis) -> list[EntryT]:
    """Return the rows that no other row dominates, cheapest first.

    A row dominates another if it costs no more, scores no worse and is better in one of the two.
    Point estimates count, without their intervals.
    """
    known = [
        (cost, score, row)
        for row in rows
        if (cost := axis.value(row)) is not None and (score := row.oriented_score) is not None
    ]
    front: list[tuple[float, float, EntryT]] = []
    for cost, score, row in sorted(known, key=lambda point: (point[0], -point[1])):
        # A point that equals the last one in both does not dominate it, nor is it dominated.
        if not front or score > front[-1][1] or (cost, score) == front[-1][:2]:
            front.append((cost, score, row))
    return [row for _, _, row in front]


def with_fronts(rows: Sequence[EntryT]) -> list[EntryT]:
    """Return a block's rows with `front`: keys of the costs on whose front a row lies."""
    fronts: list[tuple[str, ...]] = [()] * len(rows)
    for axis, drawn in drawable(rows).items():
        best = {id(row) for row in pareto_front(drawn, axis)}
        for place, row in enumerate(rows):
            if id(row) in best:
                fronts[place] += (axis.key,)
    return [replace(row, front=front) for row, front in zip(rows, fronts, strict=True)]
