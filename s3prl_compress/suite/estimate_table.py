"""Print an estimate: a summary by task and engine, followed by every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..common.command_result import CommandResult, table
from .cells import SuiteCell
from .plan import SuitePlan

DONE = "done"
"""The basis of cells that are complete already."""


@dataclass(frozen=True)
class CellEstimate:
    """Estimated time and disk space of a cell; None where they cannot be estimated."""

    cell: SuiteCell
    seconds: float | None
    bytes: int | None
    basis: str
    """Source of the estimate: past records, or a rule of thumb."""


def estimate_table(plan: SuitePlan, rows: Sequence[CellEstimate]) -> CommandResult:
    """Return the summary and the list of cells, as text and as data."""
    total = _sum(rows)
    summary = [
        {"task": task, "engine": engine, **_sum([row for row in rows if _key(row.cell) == key])}
        for key in dict.fromkeys(_key(row.cell) for row in rows)
        for task, engine in [key]
    ]
    data = {
        "summary": summary,
        "cells": [
            {
                "cell": row.cell.title,
                "done": row.basis == DONE,
                "seconds": row.seconds,
                "bytes": row.bytes,
                "basis": row.basis,
            }
            for row in rows
        ],
        **{key: value for key, value in total.items() if key != "cells"},
    }
    short = [
        (
            part["task"],
            part["engine"] or "",
            str(part["cells"]),
            str(part["done"]),
            _partly(duration(part["seconds"]), part),
            _partly(_space(part["bytes"]), part),
        )
        for part in summary
    ]
    lines = [(row.cell.title, duration(row.seconds), _space(row.bytes), row.basis) for row in rows]
    last = (
        f"{total['cells']} cells, {total['done']} of them complete; the others take about "
        f"{duration(total['seconds'])} one after the other and {_space(total['bytes'])} on disk"
    )
    if total["not_estimated"]:
        last += f"; {total['not_estimated']} of them could not be estimated"
    text = "\n".join(
        (
            table(short, ("task", "engine", "cells", "done", "time", "disk")),
            "",
            table(lines, ("cell", "time", "disk", "estimated from")),
            last,
        )
    )
    return CommandResult(
        data, text, (f"nothing was written; without --dry-run, output goes to {plan.output}",)
    )


def duration(seconds: float | None) -> str:
    """Return a time in seconds, minutes, hours or days, whichever suits; "?" if it is unknown."""
    if seconds is None:
        return "?"
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _key(cell: SuiteCell) -> tuple[str, str | None]:
    """Return the task (or kind) and engine under which the summary counts a cell."""
    if cell.kind == "score":
        return str(cell.task_name), cell.engine
    return {"upstream": "upstreams", "time": "timing"}[cell.kind], None


def _sum(rows: Sequence[CellEstimate]) -> dict[str, Any]:
    todo = [row for row in rows if row.basis != DONE]
    return {
        "cells": len(rows),
        "done": len(rows) - len(todo),
        "seconds": sum(row.seconds for row in todo if row.seconds is not None),
        "bytes": sum(row.bytes for row in todo if row.bytes is not None),
        "not_estimated": sum(row.seconds is None or row.bytes is None for row in todo),
    }


def _partly(text: str, part: dict[str, Any]) -> str:
    return f"{text} + ?" if part["not_estimated"] else text


def _space(count: int | None) -> str:
    if count is None:
        return "?"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
