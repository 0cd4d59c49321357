"""Highlights of a group of rows: the few facts that a reader wants first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import formats
from .columns import verdict
from .overview import OverviewGroup
from .roles import reference_of
from .rows import Entry, OverviewRow, Row
from .uncertainty_notes import detectable_text


@dataclass(frozen=True)
class Highlight:
    """One row that stands out, and why."""

    label: str
    upstream: str
    figure: str
    """The number that makes it stand out."""
    detail: str


def highlights(group: OverviewGroup) -> list[Highlight]:
    """Return the smallest row without a significant loss, the fastest, and the best compressed one.

    A loss that is not significant may still be there, so the first one says how small a loss the
    test could have detected.
    """
    table = group.overview or group.tables[0]
    rows: list[Entry] = [row for row in table.rows if row.score is not None]
    compressed = [row for row in rows if row.methods]
    if not compressed:
        return []
    candidates = [_smallest(compressed, rows), _fastest(compressed), _best(compressed, rows)]
    return [highlight for highlight in candidates if highlight is not None]


def _smallest(compressed: Sequence[Entry], rows: Sequence[Entry]) -> Highlight | None:
    kept = [(row.parameters, row) for row in compressed if row.parameters and _no_loss(row)]
    if not kept:
        return None
    parameters, row = min(kept, key=lambda one: one[0])
    reference = reference_of(row, rows)
    whole = reference.parameters if reference else None
    share = f", {formats.percent(parameters / whole)} of dense" if whole else ""
    return Highlight(
        "Smallest row not resolved from dense",
        row.upstream,
        f"{formats.count(parameters)} parameters{share}",
        f"{_score(row)}{_limit(row)}",
    )


def _limit(row: Entry) -> str:
    """Return the smallest detectable difference, on each task where there are several."""
    limits = ", ".join(
        " ".join(filter(None, (name.upper(), detectable_text([task]))))
        for name, task in _tasks(row).items()
    )
    return f"; smallest detectable difference: {limits}"


def _fastest(compressed: Sequence[Entry]) -> Highlight | None:
    timed = [(row.speed.relative_time, row) for row in compressed if row.speed.relative_time]
    if not timed:
        return None
    relative_time, row = min(timed, key=lambda one: one[0])
    speedup = f"{1 / relative_time:.2f}\N{MULTIPLICATION SIGN} as fast as dense"
    return Highlight("Fastest", row.upstream, speedup, _score(row))


def _best(compressed: Sequence[Entry], rows: Sequence[Entry]) -> Highlight:
    row = max(compressed, key=lambda one: one.oriented_score or 0.0)
    reference = reference_of(row, rows)
    detail = f"dense: {_score(reference)}" if reference and reference.score is not None else ""
    return Highlight("Best score when compressed", row.upstream, _score(row), detail)


def _no_loss(row: Entry) -> bool:
    """Whether the row was tested on every task and is nowhere significantly worse than dense."""
    tasks = _tasks(row).values()
    return all(task.significant is not None and verdict(task) != "worse" for task in tasks)


def _tasks(row: Entry) -> Mapping[str, Row]:
    """Return the row's results by task, without a name where there is only one task."""
    if isinstance(row, OverviewRow):
        return row.tasks
    return {"": row} if isinstance(row, Row) else {}


def _score(row: Entry) -> str:
    if row.score is None or row.standard_error is None:
        return row.metric
    decimals = formats.decimals_for([row.standard_error])
    return f"{row.metric} {formats.score(row.score, row.standard_error, decimals)}"
