"""Tables as they are shown: the same columns and cells for markdown, LaTeX, the page and CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from .notes import footnotes

NOTHING = "\N{EN DASH}"
UP, DOWN = "\N{UPWARDS ARROW}", "\N{DOWNWARDS ARROW}"
"""Beside a metric's name: whether more or less of it is better."""

RowT = TypeVar("RowT")
ColumnRow = TypeVar("ColumnRow", contravariant=True)
"""A column of a general kind of row is one of every special kind."""
Verdict = Literal["", "worse", "better"]
"""How a figure compares with dense's, where the difference is significant."""


@dataclass(frozen=True)
class Cell:
    """One figure: its text, what stands below it, and what it is sorted by."""

    text: str = NOTHING
    below: str = ""
    sort: float | str | None = None
    verdict: Verdict = ""


@dataclass(frozen=True)
class Column(Generic[ColumnRow]):
    """One column, declared once for every format.

    The CSV file has `value` at full precision; markdown, LaTeX and the page show `text` of it, or
    a `cell` that is made of several figures.
    """

    key: str
    """Its name in the CSV file and on the page."""
    label: str
    explanation: str = ""
    numeric: bool = True
    """Aligned to the right."""
    best_high: bool = False
    """Sorting starts with the highest."""
    below: str = ""
    """Label of the second line of its cells; in markdown, a separate column."""
    value: Callable[[ColumnRow], Any] | None = None
    """A row's figure, None where it has none; by default its attribute of the column's key."""
    text: Callable[[Any], str] = str
    """Formats a figure."""
    cell: Callable[[ColumnRow, Sequence[ColumnRow]], Cell] | None = None
    """Makes the whole cell of a row, given all rows of the table."""
    shown: Callable[[Sequence[ColumnRow]], bool] | None = None
    """Whether a table of these rows has the column; by default always."""
    heading: Callable[[Column[ColumnRow], Sequence[ColumnRow]], Column[ColumnRow]] | None = None
    """Adjusts what the column says of itself to the rows of a table."""
    in_papers: bool = True
    """LaTeX tables have it, too; a page has room for more."""

    def value_of(self, row: ColumnRow) -> Any:
        """Return a row's figure at full precision."""
        return getattr(row, self.key) if self.value is None else self.value(row)

    def cell_of(self, row: ColumnRow, rows: Sequence[ColumnRow]) -> Cell:
        """Return a row's cell in a table of these rows."""
        if self.cell is not None:
            return self.cell(row, rows)
        value = self.value_of(row)
        return Cell() if value is None else Cell(self.text(value), "", value)


@dataclass(frozen=True)
class Line(Generic[RowT]):
    """One line of a table."""

    cells: tuple[Cell, ...]
    marks: str
    """Letters of its footnotes."""
    reference: bool
    """Printed as the one that others are compared with."""
    row: RowT
    """The figures themselves."""


@dataclass(frozen=True)
class Table(Generic[RowT]):
    """One block, ready to be written down."""

    title: str
    facts: tuple[str, ...]
    """Properties that all rows share, a few words each."""
    columns: tuple[Column[RowT], ...]
    lines: tuple[Line[RowT], ...]
    notes: tuple[str, ...] = ()
    """Hold for every row."""
    footnotes: tuple[tuple[str, str], ...] = ()
    """(letter, note) for those rows that carry the letter."""

    @property
    def rows(self) -> list[RowT]:
        """The figures of all lines, for plots."""
        return [line.row for line in self.lines]


def make_table(
    title: str,
    facts: Sequence[str],
    columns: Sequence[Column[RowT]],
    rows: Sequence[RowT],
    *,
    notes: Sequence[str] = (),
    row_notes: Callable[[RowT], tuple[str, ...]] = lambda row: (),
) -> Table[RowT]:
    """Return the table of these rows, in their order.

    Args:
        title: of the table.
        facts: what all rows share.
        columns: of which those are kept that want to be shown for these rows.
        rows: in their order.
        notes: on the table.
        row_notes: returns those on a row. They become notes where all rows have them, and
            footnotes otherwise.
    """
    kept = [column for column in columns if column.shown is None or column.shown(rows)]
    shared, own, marks = footnotes([row_notes(row) for row in rows])
    lines = tuple(
        Line(
            tuple(column.cell_of(row, rows) for column in kept),
            mark,
            bool(getattr(row, "reference", False)),
            row,
        )
        for row, mark in zip(rows, marks, strict=True)
    )
    headed = tuple(c if c.heading is None else c.heading(c, rows) for c in kept)
    return Table(title, tuple(facts), headed, lines, (*shared, *notes), tuple(own))
