"""The leaderboard as LaTeX: one booktabs table per block, to be read into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .formats import short_methods
from .provenance import Origin
from .table_model import Cell, Column, Line, Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MINUS SIGN}": r"$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{EN DASH}": "--",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{MIDDLE DOT}": r"$\cdot$",
}
_HEAD = """\
% Made by `s3prl-compress report`. Needs \\usepackage{booktabs}; read in with \\input.
% Bold: significantly different from the dense upstream at 0.05, corrected for the rows.
"""


def latex(tables: Sequence[Table[Any]], origins: Sequence[Origin], warning: str | None) -> str:
    """Return one `table` environment per table, notes below each, the provenance as comments."""
    parts = [_HEAD]
    if warning:
        parts.append(f"% {warning}\n")
    parts += [
        f"% {origin.machine}; {origin.versions}; {origin.code}; {origin.dates}\n"
        for origin in origins
    ]
    tables_written = (_environment(table, n, warning) for n, table in enumerate(tables, start=1))
    return "\n".join(["".join(parts), *tables_written])


def escape(text: str) -> str:
    """Write a text so that LaTeX prints it as it is; what it cannot print becomes "?"."""
    written = "".join(_ESCAPES.get(character, character) for character in text)
    return "".join(c if c.isascii() or c.isalpha() else "?" for c in " ".join(written.split()))


def _environment(table: Table[Any], number: int, warning: str | None) -> str:
    kept = [place for place, column in enumerate(table.columns) if column.in_papers]
    columns = [table.columns[place] for place in kept]
    wide = [_wide(column) for column in columns]
    layout = "".join(
        ("r" if column.numeric else "l") + ("l" if second else "")
        for column, second in zip(columns, wide, strict=True)
    )
    head = [
        name
        for column, second in zip(columns, wide, strict=True)
        for name in ([column.label, column.below] if second else [column.label])
    ]
    notes = [*([warning] if warning else []), *table.notes]
    notes += [f"({letter}) {note}" for letter, note in table.footnotes]
    rows = [_line(columns, [line.cells[place] for place in kept], line) for line in table.lines]
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{escape(table.title)}. {escape(', '.join(table.facts))}.}}",
        rf"  \label{{tab:{number}-{_label(table.title)}}}",
        rf"  \begin{{tabular}}{{{layout}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, head))} \\\\",
        r"    \midrule",
        *(f"    {row}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        *(rf"  \par\footnotesize {escape(note)}" for note in notes),
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _wide(column: Column[Any]) -> bool:
    """Whether what stands below a column's figures gets a column of its own."""
    return bool(column.below)


def _line(columns: Sequence[Column[Any]], cells: Sequence[Cell], line: Line[Any]) -> str:
    written: list[str] = []
    for column, cell in zip(columns, cells, strict=True):
        text = rf"\textbf{{{escape(cell.text)}}}" if cell.verdict else escape(cell.text)
        if column.key == "upstream" and line.marks:
            text += rf"$^{{{line.marks}}}$"
        if _wide(column):
            below = short_methods(cell.below) if column.key == "upstream" else cell.below
            written += [text, escape(below)]
        else:
            written.append(text + (f" ({escape(cell.below)})" if cell.below else ""))
    return " & ".join(written) + r" \\"


def _label(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
