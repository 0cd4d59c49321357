"""A plain table of recordings (file, label, speaker, split), and all that can be wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ...errors import InputError
from .audio import check_audio
from .base import Split
from .faults import Faults

SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "valid": "dev",
    "validation": "dev",
    "dev": "dev",
    "test": "test",
}
"""What a table may call the splits."""


@dataclass(frozen=True)
class Row:
    """One recording of the table."""

    path: Path
    file: str
    """As the table gives it."""
    label: str
    """What is to be predicted: a class; for recognition, the transcript."""
    speaker: str
    split: str
    """As the task's form names it: a split, or for cross-validation a session."""


def _one_sample(row: Row) -> int:
    return 1


def _always(label: str) -> bool:
    return True


@dataclass(frozen=True)
class Form:
    """What a task's table looks like."""

    splits: Mapping[str, str] = field(default_factory=lambda: SPLIT_NAMES)
    """From what a table may say to what a row says."""
    label_column: str = "label"
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other names of labels."""
    needs_speaker: Callable[[str], bool] = _always
    """Whether a recording with this label must have a speaker."""
    shortest: Callable[[Row], int] = _one_sample
    """Fewest samples that a row's recording may have, at 16 kHz."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return ("file", self.label_column, "speaker", "split")


def read_table(
    metadata: Path, form: Form, check_labels: Callable[[list[Row], Faults], None]
) -> list[Row]:
    """Read a table and check it with the headers of its audio files, before any work is done.

    Files are relative to the table's folder, further columns are left aside. `check_labels` notes
    what is wrong with labels and splits. Raises one `InputError` that lists every fault with its
    count.
    """
    raw = _read_csv(metadata, form.columns)
    faults = Faults()
    rows, seen = [], set()
    for number, fields in enumerate(raw, start=2):
        row = _parse(fields, form, metadata.parent, f"line {number}", faults)
        if fields["file"] in seen:
            faults.add("file listed twice", fields["file"])
        seen.add(fields["file"])
        if row is not None:
            rows.append(row)
    check_labels(rows, faults)
    for row in tqdm(rows, desc="checking the recordings", delay=2, leave=False, unit="file"):
        if not row.path.is_file():
            faults.add("missing file", row.file)
            continue
        check_audio(row.path, row.file, faults, shortest=form.shortest(row), rate=None)
    faults.raise_if_any(str(metadata), "nothing was written; mend the table or its files")
    return rows


def _read_csv(metadata: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not metadata.is_file():
        raise InputError(f"{metadata}: no such table; give a csv file with one recording a line")
    try:
        with open(metadata, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{metadata}: no column {', '.join(missing)}; a table needs the columns "
                    f"{', '.join(columns)}, separated by commas"
                )
            raw = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{metadata}: not a readable table ({error})") from error
    if not raw:
        raise InputError(f"{metadata}: the table has no rows; list one recording a line")
    return raw


def _parse(
    fields: dict[str, str], form: Form, folder: Path, where: str, faults: Faults
) -> Row | None:
    """Make a row; what cannot be one is noted and left out."""
    file, label, speaker = fields["file"], fields[form.label_column], fields["speaker"]
    label = form.synonyms.get(label, label)
    split = form.splits.get(fields["split"])
    if not file:
        faults.add("empty file name", where)
    if not label:
        faults.add(f"empty {form.label_column}", file or where)
    if split is None:
        faults.add("unknown split", f"{fields['split']!r} on {where}")
    if label and not speaker and form.needs_speaker(label):
        faults.add("empty speaker", file or where)
    if not file or not label or split is None:
        return None
    return Row(folder / file, file, label, speaker, split)
