"""Writing recordings in the layout of Speech Commands, which both engines read."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from pathlib import Path

from ...audio.clips import SAMPLING_RATE
from ...common.faults import Faults
from ..base.corpus import SPLITS, Split
from ..base.prepare import Layout, check_output, packaged_table, prepare_layout
from ..base.table import CorpusRow, Form, read_table
from .corpus import (
    BACKGROUND_FOLDER,
    CLASSES_OF_VARIANT,
    DIGITS,
    SILENCE,
    TEST_FOLDER,
    TRAIN_FOLDER,
    Variant,
    split_of,
)

DEMO_NAME = "generated demo keywords"


def prepare_keywords(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a keyword-spotting corpus from a table with the columns file, label, speaker, split.

    The result is 16-bit mono wav at 16 kHz in Speech Commands' folders, with speaker ids of
    which the SHA-1 rule gives the listed split, and a `corpus.json`. The labels decide the
    variant: SUPERB's twelve classes, or the ten digits without silence and unknown. Silence is
    labelled `_silence_` or `_background_noise_`, and needs no speaker. `name` is what reports
    call the corpus; without it the name of the table's folder.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_keywords(output: Path) -> Path:
    """Unpack the packaged corpus of generated speech into Speech Commands' layout at `output`."""
    with packaged_table("ks") as table:
        return _prepare(table, Path(output), DEMO_NAME, generated=True)


def speaker_id(speaker: str, split: Split) -> str:
    """Return eight hexadecimal digits for a speaker, such that the SHA-1 rule gives `split`.

    A speaker who occurs in several splits gets one id for each of them.
    """
    for attempt in itertools.count():
        text = f"{split}\0{speaker}\0{attempt}".encode("utf-8", "surrogatepass")
        candidate = hashlib.sha256(text).hexdigest()[:8]
        if split_of(candidate) == split:
            return candidate
    raise AssertionError("unreachable: one candidate in ten falls into each split")


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    form = Form(
        synonyms={BACKGROUND_FOLDER: SILENCE},
        needs_speaker=lambda label: label != SILENCE,
        shortest=lambda row: SAMPLING_RATE if _is_background(row) else 1,
    )
    rows = read_table(metadata, form, _check_labels)
    variant = _variant(rows)
    layout = Layout("ks", variant, CLASSES_OF_VARIANT[variant], _targets(rows))
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _is_background(row: CorpusRow) -> bool:
    """Tell whether s3prl cuts its silence for training and dev from this recording."""
    return row.label == SILENCE and row.split != "test"


def _variant(rows: list[CorpusRow]) -> Variant:
    """Return `digits` if the table has a digit and no class of the official task."""
    labels = {row.label for row in rows}
    official = set(CLASSES_OF_VARIANT["official"])
    return "digits" if labels & set(DIGITS) and not labels & official else "official"


def _check_labels(rows: list[CorpusRow], faults: Faults) -> None:
    variant = _variant(rows)
    classes = CLASSES_OF_VARIANT[variant]
    unknown = Counter(row.label for row in rows if row.label not in classes)
    for label, count in sorted(unknown.items(), key=lambda pair: (-pair[1], pair[0])):
        kind = f"label that is no class of the {variant} variant"
        faults.add(kind, label if count == 1 else f"{label} x {count}", count=count)
    present = {(row.label, row.split) for row in rows}
    for name in classes:
        if name == SILENCE:
            if not any(_is_background(row) for row in rows):
                faults.add("no background noise", f"{SILENCE} in train or valid")
            if (name, "test") not in present:
                faults.add("class without a clip", f"{name} in test")
            continue
        for split in SPLITS:
            if (name, split) not in present:
                faults.add("class without a clip", f"{name} in {split}")


def _targets(rows: list[CorpusRow]) -> list[tuple[Path, str]]:
    """Return each row's place below the corpus folder; the same table gives the same names."""
    ids = _speaker_ids(rows)
    takes: Counter[str] = Counter()
    targets = []
    for row in rows:
        if _is_background(row):
            stem = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(row.file).stem)
            stem = f"{TRAIN_FOLDER}/{BACKGROUND_FOLDER}/{stem}"
            number = takes[stem]
            takes[stem] += 1
            targets.append((row.path, f"{stem}~{number}.wav" if number else f"{stem}.wav"))
            continue
        root = TEST_FOLDER if row.split == "test" else TRAIN_FOLDER
        stem = f"{root}/{row.label}/{ids[row.speaker, row.split]}_nohash_"
        targets.append((row.path, f"{stem}{takes[stem]}.wav"))
        takes[stem] += 1
    return targets


def _speaker_ids(rows: list[CorpusRow]) -> dict[tuple[str, str], str]:
    ids: dict[tuple[str, str], str] = {}
    taken: set[str] = set()
    for split in sorted(SPLITS):
        for speaker in sorted({row.speaker for row in rows if row.split == split}):
            # Eight digits hold some 4e9 ids: two speakers may still meet in a large corpus.
            name = speaker
            while (identity := speaker_id(name, split)) in taken:
                name += "\0"
            taken.add(identity)
            ids[speaker, split] = identity
    return ids
