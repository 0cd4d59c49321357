"""What a command returns, and plain-text tables for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class CommandResult:
    """What a command found out."""

    data: dict[str, Any]
    """Printed by `--json`, under keys that do not change."""
    text: str = ""
    """Printed otherwise."""
    next_steps: tuple[str, ...] = ()
    """Where the output lies and what to run next, a line each."""
    exit_code: int = 0


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return rows as aligned columns."""
    lines = [[str(cell) for cell in row] for row in ([head] if head else [])]
    lines += [[str(cell) for cell in row] for row in rows]
    if not lines:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
