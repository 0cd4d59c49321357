"""The result of a command, and plain-text tables for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    data: dict[str, Any]
    """Printed by `--json`. The keys are stable."""
    text: str = ""
    """Printed without `--json`."""
    next_steps: tuple[str, ...] = ()
    """Where the output is and what to run next, one line each."""
    exit_code: int = 0


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return rows as text in aligned columns, with the column names in the first line if given."""
    lines = [[str(cell) for cell in row] for row in ([head] if head else [])]
    lines += [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
