"""The reader of csv tables of recordings, and the checks of their form."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..common.errors import InputError
from ..common.faults import Faults

Split = Literal["train", "dev", "test"]

SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "valid": "dev",
    "validation": "dev",
    "dev": "dev",
    "test": "test",
}
"""Names that tables may use for splits, and the split that each means."""

TEXT, TEXT_ALIAS = "text", "transcript"
"""Name of the column of transcripts, and an alternative name."""


@dataclass(frozen=True)
class TableRow:
    """One recording of a table."""

    line: int
    """Number of the row's last line in the file, from 1."""
    cells: Mapping[str, str]
    """Values by column, without surrounding spaces; empty if the row is too short. Transcripts
    have the key `text`, whatever the table calls them."""

    @property
    def file(self) -> str:
        """Path of the recording as given in the table."""
        return self.cells["file"]


def find_table(source: Path) -> Path | None:
    """Return `source` if it is a file, or its `metadata.csv` if there is one, or else None."""
    table = source / "metadata.csv" if os.path.isdir(source) else source
    return table if os.path.isfile(table) else None


def read_rows(table: Path, columns: Sequence[str], faults: Faults) -> list[TableRow]:
    """Read a csv table of recordings: UTF-8, with or without a byte order mark; commas.

    Faults of single rows are added to `faults`: no file name, a file listed twice, too few or too
    many cells, two different transcripts in one row. The caller must check the values.

    Args:
        table: file whose first line has the names of the columns.
        columns: required columns, including `file`. `transcript` is accepted for `text`.
        faults: gets the faults of single rows.

    Raises:
        InputError: the table cannot be read, lacks a column, or has no rows.
    """
    reader = csv.reader(io.StringIO(_read_text(table), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(table, header, columns)
        needed = {name if name in header else TEXT_ALIAS for name in columns}
        rows = [
            _row(header, cells, reader.line_num, needed, faults) for cells in reader if any(cells)
        ]
    except csv.Error as error:
        raise InputError(
            f"{table}: not a readable table (line {reader.line_num}: {error}); check its quotes"
        ) from error
    if not rows:
        raise InputError(f"{table}: the table has no rows; list one recording per line")
    _check_duplicates(rows, faults)
    return rows


def _read_text(table: Path) -> str:
    try:
        data = table.read_bytes()
    except FileNotFoundError as error:
        raise InputError(
            f"{table}: no such table; give a csv file with one recording per line"
        ) from error
    except OSError as error:
        raise InputError(f"{table}: cannot be read as a table ({error.strerror})") from error
    return decode_text(table, data)


def decode_text(path: Path, data: bytes) -> str:
    """Decode the bytes of a file as UTF-8, without a byte order mark.

    Raises:
        InputError: they are not text in UTF-8; the message has the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: not UTF-8 (byte 0x{data[error.start]:02x} in line {line}); save it as UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}: not text (a NUL character in line {line}); save it as UTF-8")
    return text


def _check_header(table: Path, header: list[str], columns: Sequence[str]) -> None:
    missing = [
        name
        for name in columns
        if name not in header and not (name == TEXT and TEXT_ALIAS in header)
    ]
    if missing:
        raise InputError(
            f"{table}: no column {', '.join(missing)}; a table needs the columns "
            f"{', '.join(columns)}, separated by commas, in its first line"
        )
    twice = [name for name in (*columns, TEXT_ALIAS, "split") if header.count(name) > 1]
    if twice:
        raise InputError(f"{table}: there are two columns {twice[0]}; rename or remove one")


def _row(
    header: list[str], cells: list[str], line: int, needed: set[str], faults: Faults
) -> TableRow:
    cells = [cell.strip() for cell in cells]
    values = dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
    where = f"line {line}"
    if any(cells[len(header) :]):
        faults.add("row with more cells than columns (quote texts that hold commas)", where)
    if len(cells) <= max(header.index(name) for name in needed):
        faults.add("row with too few cells", where)
    elif not values["file"]:
        faults.add("empty file name", where)
    if needed & {TEXT, TEXT_ALIAS} and TEXT_ALIAS in values:
        text = values.setdefault(TEXT, values[TEXT_ALIAS])
        if text != values[TEXT_ALIAS]:
            faults.add(f"{TEXT} and {TEXT_ALIAS} that differ", where)
    return TableRow(line, values)


def _check_duplicates(rows: Sequence[TableRow], faults: Faults) -> None:
    seen: dict[str, TableRow] = {}
    for row in rows:
        first = seen.setdefault(os.path.normpath(row.file), row)
        if first is row or not row.file:
            continue
        same = first.cells.get(TEXT, "") == row.cells.get(TEXT, "")
        faults.add("file listed twice" if same else "file listed twice with two texts", row.file)
