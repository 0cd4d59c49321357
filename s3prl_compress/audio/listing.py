"""Listing the recordings of a folder or table, and selecting those for training."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..common.errors import InputError
from ..common.faults import Faults
from .table import SPLIT_NAMES, find_table, read_rows

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")

FORMS = "wav, flac, ogg or opus files"

_LIBRISPEECH_PART = re.compile(r"(train|dev|test)-(clean|other)(-\d+)?")


@dataclass(frozen=True)
class Listing:
    """Recordings of a folder or table."""

    root: Path
    """Folder that the names are relative to."""
    files: tuple[str, ...]
    """Paths with forward slashes, sorted."""
    selection: str = ""
    """Description of the part of the source that is used; empty for all of it."""


def list_audio(source: Path) -> Listing:
    """List the training recordings of a folder, or of a csv table with the column `file`.

    A folder with a `metadata.csv` is read by this table; any other folder is searched recursively.
    If the source distinguishes training from evaluation data, only the former is listed: the
    folders train-* of LibriSpeech, or the rows with the split `train` of a table. A folder of
    evaluation data that is given itself (LibriSpeech/dev-clean) is listed completely.

    Raises:
        InputError: there is no audio, or none for training, or the table has faults.
    """
    table = find_table(source)
    if table is not None:
        return _of_table(table)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder or table; give one with {FORMS}")
    files = sorted(
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.suffix.lower() in SUFFIXES
    )
    if not files:
        raise InputError(f"{source}: contains no audio; it must contain {FORMS}")
    return _training_parts(source, files)


@cache
def tell(note: str) -> None:
    """Print a note to stderr, but the same note only once per process."""
    print(f"note: {note}", file=sys.stderr, flush=True)


def _of_table(table: Path) -> Listing:
    faults = Faults()
    rows = read_rows(table, ("file",), faults)
    faults.raise_if_any(str(table), "correct the table")
    splits = {SPLIT_NAMES.get(row.cells.get("split", "")) for row in rows} - {None}
    if not splits & {"dev", "test"}:
        return Listing(table.parent, tuple(sorted(row.file for row in rows)))
    files = sorted(row.file for row in rows if row.cells["split"] == "train")
    if not files:
        raise InputError(
            f"{table}: its column `split` has no row `train`; give a table of the recordings to "
            "train on, or one without this column"
        )
    tell(f"{table}: {len(files)} of {len(rows)} recordings are used, those of the split train")
    return Listing(table.parent, tuple(files), "split train")


def _training_parts(folder: Path, files: Sequence[str]) -> Listing:
    parts: dict[str, list[str]] = {}
    for name in files:
        folders = name.split("/")[:-1]
        part = next((own for own in folders if _LIBRISPEECH_PART.fullmatch(own)), "")
        parts.setdefault(part, []).append(name)
    if set(parts) == {""}:
        return Listing(folder, tuple(files))
    taken = sorted(part for part in parts if part.startswith("train-"))
    left = ", ".join(sorted(part or "other files" for part in parts if part not in taken))
    if not taken:
        raise InputError(
            f"{folder}: contains {left} but no train-*; to train on evaluation data nevertheless, "
            "give one of its folders"
        )
    if not left:
        return Listing(folder, tuple(files))
    tell(f"{folder}: {', '.join(taken)} used, {left} skipped")
    return Listing(
        folder, tuple(sorted(name for part in taken for name in parts[part])), ", ".join(taken)
    )
