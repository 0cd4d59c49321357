"""An estimate as a terminal and `--json` show it: a summary by task and engine, then every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..common.command_result import CommandResult, table
from .cells import Cell
from .plan import Plan

DONE = "done"
"""Basis of a cell that is complete."""


@dataclass(frozen=True)
class Estimate:
    """What a cell will take; None where nobody can say."""

    cell: Cell
    seconds: float | None
    bytes: int | None
    basis: str
    """Where the seconds come from."""


def estimate_table(plan: Plan, rows: Sequence[Estimate]) -> CommandResult:
    """Return both tables and their figures."""
    total = _sum(rows)
    summary = [
        {"task": task, "engine": engine, **_sum([row for row in rows if _key(row.cell) == key])}
        for key in dict.fromkeys(_key(row.cell) for row in rows)
        for task, engine in [key]
    ]
    figures = {
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
        f"{total['cells']} cells, {total['done']} done; the others: about "
        f"{duration(total['seconds'])} one after the other, {_space(total['bytes'])} on disk"
    )
    if total["not_estimated"]:
        last += f"; {total['not_estimated']} of them could not be estimated"
    text = "\n".join(
        (
            table(short, ("task", "engine", "cells", "done", "time", "disk")),
            "",
            table(lines, ("cell", "time", "disk", "from")),
            last,
        )
    )
    return CommandResult(figures, text, (f"nothing was written; without --dry-run: {plan.output}",))


def duration(seconds: float | None) -> str:
    """Return a time in a unit in which it is read at a glance; "?" where it is not known."""
    if seconds is None:
        return "?"
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _key(cell: Cell) -> tuple[str, str | None]:
    """Return the line of the summary that a cell belongs to."""
    if cell.kind == "score":
        return str(cell.task_name), cell.engine
    return {"upstream": "upstreams", "time": "timing"}[cell.kind], None


def _sum(rows: Sequence[Estimate]) -> dict[str, Any]:
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
