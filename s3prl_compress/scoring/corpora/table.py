"""A plain table of recordings (file, label, speaker, split), and all that can be wrong with it."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ...errors import InputError
from .audio import SAMPLING_RATE, check_audio
from .base import Split
from .faults import Faults
from .keywords import BACKGROUND_FOLDER, CLASSES_OF_VARIANT, DIGITS, SILENCE, Variant

COLUMNS = ("file", "label", "speaker", "split")
_SPLITS: dict[str, Split] = {
    "train": "train",
    "valid": "dev",
    "validation": "dev",
    "dev": "dev",
    "test": "test",
}


@dataclass(frozen=True)
class Row:
    """One recording of the table."""

    path: Path
    file: str
    """As the table gives it."""
    label: str
    """A class; background noise of training and dev is `_silence_`."""
    speaker: str
    """May be empty for silence."""
    split: Split

    @property
    def is_background(self) -> bool:
        """Whether it is a recording from which s3prl cuts its silence for training and dev."""
        return self.label == SILENCE and self.split != "test"


def read_table(metadata: Path) -> tuple[list[Row], Variant]:
    """Read a table and check it with the headers of its audio files, before any work is done.

    Files are relative to the table's folder, further columns are left aside, and the split
    `valid`, `validation` or `dev` is one and the same. Silence is labelled `_silence_` or
    `_background_noise_`. Raises one `InputError` that lists every fault with its count.
    """
    raw = _read_csv(metadata)
    faults = Faults()
    rows, seen = [], set()
    for number, fields in enumerate(raw, start=2):
        row = _parse(fields, metadata.parent, f"line {number}", faults)
        if fields["file"] in seen:
            faults.add("file listed twice", fields["file"])
        seen.add(fields["file"])
        if row is not None:
            rows.append(row)
    variant = _variant(rows)
    _check_labels(rows, variant, faults)
    for row in tqdm(rows, desc="checking the recordings", delay=2, leave=False, unit="file"):
        if not row.path.is_file():
            faults.add("missing file", row.file)
            continue
        shortest = SAMPLING_RATE if row.is_background else 1
        check_audio(row.path, row.file, faults, shortest=shortest, rate=None)
    faults.raise_if_any(str(metadata), "nothing was written; mend the table or its files")
    return rows, variant


def _read_csv(metadata: Path) -> list[dict[str, str]]:
    try:
        with open(metadata, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{metadata}: no column {', '.join(missing)}; a table needs the columns "
                    f"{', '.join(COLUMNS)}, separated by commas"
                )
            raw = [{name: (row[name] or "").strip() for name in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{metadata}: not a readable table ({error})") from error
    if not raw:
        raise InputError(f"{metadata}: the table has no rows; list one recording a line")
    return raw


def _parse(fields: dict[str, str], folder: Path, where: str, faults: Faults) -> Row | None:
    """Make a row; what cannot be one is noted and left out."""
    file, label, speaker = fields["file"], fields["label"], fields["speaker"]
    split = _SPLITS.get(fields["split"])
    if label == BACKGROUND_FOLDER:
        label = SILENCE
    if not file:
        faults.add("empty file name", where)
    if not label:
        faults.add("empty label", file or where)
    if split is None:
        faults.add("unknown split", f"{fields['split']!r} on {where}")
    if label and label != SILENCE and not speaker:
        faults.add("empty speaker", file or where)
    if not file or not label or split is None:
        return None
    return Row(folder / file, file, label, speaker, split)


def _variant(rows: list[Row]) -> Variant:
    """Ten digits, where the table has a digit and no class of the official task."""
    labels = {row.label for row in rows}
    official = set(CLASSES_OF_VARIANT["official"])
    return "digits" if labels & set(DIGITS) and not labels & official else "official"


def _check_labels(rows: list[Row], variant: Variant, faults: Faults) -> None:
    classes = CLASSES_OF_VARIANT[variant]
    strange = Counter(row.label for row in rows if row.label not in classes)
    for label, count in sorted(strange.items(), key=lambda pair: (-pair[1], pair[0])):
        kind = f"label that is no class of the {variant} variant"
        faults.add(kind, label if count == 1 else f"{label} x {count}", count=count)
    present = {(row.label, row.split) for row in rows}
    splits: tuple[Split, ...] = ("train", "dev", "test")
    for name in classes:
        if name == SILENCE:
            if not any(row.is_background for row in rows):
                faults.add("no background noise", f"{SILENCE} in train or valid")
            if (name, "test") not in present:
                faults.add("class without a clip", f"{name} in test")
            continue
        for split in splits:
            if (name, split) not in present:
                faults.add("class without a clip", f"{name} in {split}")
