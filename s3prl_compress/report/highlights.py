"""The few sentences that a reader wants first: what a group of rows comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import formats
from .overview import Group
from .rows import reference_of
from .table_model import verdict
from .uncertainty_notes import detectable_text


@dataclass(frozen=True)
class Highlight:
    """One row that stands out, and why."""

    label: str
    upstream: str
    figure: str
    """What it stands out by."""
    detail: str


def highlights(group: Group) -> list[Highlight]:
    """Return the smallest row without a resolved loss, the fastest, and the best compressed.

    A loss that is not resolved may be there: the first one says how large it would have to be.
    """
    table = group.overview or group.tables[0]
    rows = [row for row in table.rows if row["score"] is not None]
    compressed = [row for row in rows if row["methods"]]
    if not compressed:
        return []
    found = [_smallest(compressed, rows), _fastest(compressed), _best(compressed, rows)]
    return [highlight for highlight in found if highlight is not None]


def _smallest(
    compressed: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
) -> Highlight | None:
    kept = [row for row in compressed if _no_loss(row) and row["parameters"]]
    if not kept:
        return None
    row = min(kept, key=lambda row: row["parameters"])
    reference = reference_of(row, rows)
    whole = reference["parameters"] if reference else None
    share = f", {formats.percent(row['parameters'] / whole)} of dense" if whole else ""
    return Highlight(
        "Smallest without a resolved loss",
        row["upstream"],
        f"{formats.count(row['parameters'])} parameters{share}",
        f"{_score(row)}{_limit(row)}",
    )


def _limit(row: Mapping[str, Any]) -> str:
    """Say which differences would have been found; on all tasks together, on each."""
    tasks = row.get("tasks", {"": row})
    found = ", ".join(
        " ".join(filter(None, (name.upper(), detectable_text([task]))))
        for name, task in tasks.items()
    )
    return f"; smallest difference that would have been found: {found}"


def _fastest(compressed: Sequence[dict[str, Any]]) -> Highlight | None:
    timed = [row for row in compressed if row["relative_time"]]
    if not timed:
        return None
    row = min(timed, key=lambda row: row["relative_time"])
    speedup = f"{1 / row['relative_time']:.2f}\N{MULTIPLICATION SIGN} as fast as dense"
    return Highlight("Fastest", row["upstream"], speedup, _score(row))


def _best(compressed: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> Highlight:
    sign = 1 if rows[0]["higher_is_better"] else -1
    row = max(compressed, key=lambda row: sign * row["score"])
    reference = reference_of(row, rows)
    whole = reference is not None and reference["score"] is not None
    detail = f"dense: {_score(reference)}" if reference and whole else ""
    return Highlight("Best score when compressed", row["upstream"], _score(row), detail)


def _no_loss(row: Mapping[str, Any]) -> bool:
    """Whether the row was tested on every task and is nowhere significantly worse than dense."""
    tasks = row["tasks"].values() if "tasks" in row else [row]
    return all(task["significant"] is not None and verdict(task) != "worse" for task in tasks)


def _score(row: Mapping[str, Any]) -> str:
    decimals = formats.decimals_for([row["standard_error"]])
    return f"{row['metric']} {formats.score(row['score'], row['standard_error'], decimals)}"
