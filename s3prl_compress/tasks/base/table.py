"""A plain table of recordings (file, label, speaker, split), read and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ...audio.clips import check_audio
from ...audio.table import SPLIT_NAMES, TableRow, read_rows
from ...common.faults import Faults
from .corpus import LABEL_SEPARATOR


@dataclass(frozen=True)
class CorpusRow:
    """One recording of the table."""

    path: Path
    file: str
    """As the table gives it."""
    label: str
    """The target: a class; for recognition, the transcript."""
    speaker: str
    split: str
    """As the task's form names it: a split, or for cross-validation a session."""


def _one_sample(row: CorpusRow) -> int:
    return 1


def _always(label: str) -> bool:
    return True


@dataclass(frozen=True)
class Form:
    """The form of a task's table."""

    splits: Mapping[str, str] = field(default_factory=lambda: SPLIT_NAMES)
    """From names of splits in a table to those in a `CorpusRow`."""
    label_column: str = "label"
    slots: tuple[str, ...] = ()
    """In place of `label_column`: columns whose values make up a label, joined by
    `LABEL_SEPARATOR`."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other names of labels."""
    needs_speaker: Callable[[str], bool] = _always
    """Whether a recording with this label must have a speaker."""
    shortest: Callable[[CorpusRow], int] = _one_sample
    """Fewest samples that a row's recording may have, at 16 kHz."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return ("file", *self.label_columns, "speaker", "split")

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The columns that a label is made of."""
        return self.slots or (self.label_column,)


def read_table(
    metadata: Path, form: Form, check_labels: Callable[[list[CorpusRow], Faults], None]
) -> list[CorpusRow]:
    """Read a table and check it with the headers of its audio files, before any work is done.

    Files are relative to the table's folder; further columns are ignored. `check_labels` adds the
    faults of labels and splits. Raises one `InputError` that lists every fault with its
    count.
    """
    faults = Faults()
    listed = read_rows(metadata, form.columns, faults)
    parsed = (_parse(row, form, metadata.parent, faults) for row in listed)
    rows = [row for row in parsed if row is not None]
    check_labels(rows, faults)
    for row in tqdm(rows, desc="checking the recordings", delay=2, leave=False, unit="file"):
        if not os.path.isfile(row.path):  # False for names that are too long, too
            faults.add("missing file", row.file)
            continue
        check_audio(row.path, row.file, faults, shortest=form.shortest(row), rate=None)
    faults.raise_if_any(str(metadata), "nothing was written; correct the table or its files")
    return rows


def _parse(row: TableRow, form: Form, folder: Path, faults: Faults) -> CorpusRow | None:
    """Return the recording of a row; None, with its faults noted, if it is unusable."""
    cells, where = row.cells, f"line {row.line}"
    file, speaker = row.file, cells["speaker"]
    values = [form.synonyms.get(cells[name], cells[name]) for name in form.label_columns]
    split = form.splits.get(cells["split"])
    label = LABEL_SEPARATOR.join(values)
    for name, value in zip(form.label_columns, values, strict=True):
        ambiguous = bool(form.slots) and LABEL_SEPARATOR in value
        if not value:
            faults.add(f"empty {name}", file or where)
        elif ambiguous:
            faults.add(f"{name} with a {LABEL_SEPARATOR}", f"{value} of {file or where}")
        if not value or ambiguous:
            label = ""
    if split is None:
        faults.add("unknown split", f"{cells['split']!r} on {where}")
    if label and not speaker and form.needs_speaker(label):
        faults.add("empty speaker", file or where)
    if not file or not label or split is None:
        return None
    return CorpusRow(folder / file, file, label, speaker, split)
