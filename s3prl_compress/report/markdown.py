"""The leaderboard as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .formats import short_methods
from .provenance import Origin
from .table_model import Cell, Column, Line, Table


def markdown(tables: Sequence[Table[Any]], origins: Sequence[Origin], warning: str | None) -> str:
    """Return the whole document: a section per table, then the provenance."""
    warned = [f"**{_escape(warning)}**\n"] if warning else []
    sections = (_section(table) for table in tables)
    return "\n".join(["# Leaderboard\n", *warned, *sections, _origins(origins)])


def _section(table: Table[Any]) -> str:
    head: list[str] = []
    rule: list[str] = []
    for column in table.columns:
        for label in (column.label, column.below):
            if label:
                head.append(_escape(label))
                rule.append("---:" if column.numeric and label == column.label else "---")
    lines = [
        f"## {_escape(table.title)}\n",
        _escape(" · ".join(table.facts)) + "\n",
        _line(head),
        _line(rule),
        *(_line(_cells(table.columns, line)) for line in table.lines),
        "",
        *(f"- {_escape(note)}" for note in table.notes),
        *_full_methods(table),
        *(f"- <sup>{letter}</sup> {_escape(note)}" for letter, note in table.footnotes),
    ]
    return "\n".join(lines) + "\n"


def _full_methods(table: Table[Any]) -> list[str]:
    """Return the full method chains that the table's cells shorten."""
    cells = [
        cell
        for line in table.lines
        for column, cell in zip(table.columns, line.cells, strict=True)
        if column.key == "upstream" and short_methods(cell.below) != cell.below
    ]
    return [f"- {_escape(cell.text)}: {_escape(cell.below)}" for cell in cells]


def _cells(columns: Sequence[Column[Any]], line: Line[Any]) -> list[str]:
    cells: list[str] = []
    for column, cell in zip(columns, line.cells, strict=True):
        text = _escape(cell.text)
        text = f"**{text}**" if cell.verdict else text
        if column.key == "upstream":
            text = f"**{text}**" if line.reference else text
            text += f" <sup>{line.marks}</sup>" if line.marks else ""
        if column.below:
            below = short_methods(cell.below) if column.key == "upstream" else cell.below
            cells += [text, _escape(below)]
        else:
            cells.append(text + _in_brackets(cell))
    return cells


def _in_brackets(cell: Cell) -> str:
    return f" ({_escape(cell.below)})" if cell.below else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _origins(origins: Sequence[Origin]) -> str:
    lines = ["## Provenance\n"]
    for origin in origins:
        records = f"{origin.records} record{'' if origin.records == 1 else 's'}"
        lines += [
            f"- {_escape(origin.machine)}",
            f"  - {records}, {origin.dates}",
            f"  - {_escape(origin.versions)}",
            f"  - s3prl_compress {origin.code}",
            *(f"  - `{command.replace('`', '')}`" for command in origin.commands),
        ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Escape what would end a cell or be read as markup."""
    for character in "\\|`*_<>[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
