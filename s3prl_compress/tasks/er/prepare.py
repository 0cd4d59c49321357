"""Writing emotional speech in IEMOCAP's layout, which both engines read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ...common.errors import InputError
from ...common.faults import Faults
from ..base.corpus import check_classes_differ
from ..base.prepare import Layout, check_output, packaged_table, prepare_layout
from ..base.table import CorpusRow, Form, read_table
from .corpus import EMOTIONS, FOLDS, label_texts
from .iemocap import is_iemocap, prepare_iemocap

DEMO_NAME = "generated demo emotions"
_SESSIONS = {f"session{fold}": str(fold) for fold in FOLDS}


def prepare_emotions(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write an emotion corpus from a table with the columns file, label, speaker, split.

    Labels are neu, hap, ang and sad, splits session1 to session5, one per fold. The result is
    16-bit mono wav at 16 kHz in IEMOCAP's folders, with s3prl's lists of labels. `name` is what
    reports call the corpus; without it the name of the table's folder.

    In place of a table, `metadata` may be the folder of IEMOCAP as distributed: see
    `prepare_iemocap`.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    if is_iemocap(metadata):
        return prepare_iemocap(metadata, output)
    if metadata.is_dir():
        raise InputError(
            f"{metadata}: not the folder of IEMOCAP, which holds Session1 to Session5; for other "
            "speech give a csv table"
        )
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_emotions(output: Path) -> Path:
    """Unpack the packaged styles of generated speech into IEMOCAP's layout at `output`."""
    with packaged_table("er") as table:
        return _prepare(table, Path(output), DEMO_NAME, generated=True)


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(splits=_SESSIONS), _check_labels)
    targets = _targets(rows)
    sessions: dict[int, list[dict[str, str]]] = {fold: [] for fold in FOLDS}
    for row, path in sorted(targets, key=lambda target: target[1]):
        entry = {"path": path, "label": row.label, "speaker": row.speaker}
        sessions[int(row.split)].append(entry)
    layout = Layout(
        "er",
        "sessions",
        EMOTIONS,
        [(row.path, path) for row, path in targets],
        texts=label_texts(sessions),
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _check_labels(rows: list[CorpusRow], faults: Faults) -> None:
    for row in rows:
        if row.label not in EMOTIONS:
            faults.add(f"label other than {', '.join(EMOTIONS)}", f"{row.label} of {row.file}")
    for fold in FOLDS:
        if not any(row.split == str(fold) for row in rows):
            faults.add("session without a clip", f"session{fold}")
        own = (row.label for row in rows if row.split == str(fold))
        check_classes_differ(own, f"session{fold}", faults)
        present = {row.label for row in rows if row.split != str(fold)}
        for label in EMOTIONS:
            if label not in present:
                faults.add("class without a clip", f"{label} outside of session{fold}")


def _targets(rows: list[CorpusRow]) -> list[tuple[CorpusRow, str]]:
    """Return each row's place below the corpus folder: a speaker's clips are one dialog."""
    takes: Counter[str] = Counter()
    targets = []
    for row in rows:
        speaker = re.sub(r"[^A-Za-z0-9]+", "-", row.speaker)
        dialog = f"Ses{int(row.split):02}_{speaker}"
        number = takes[dialog]
        takes[dialog] += 1
        place = f"Session{row.split}/sentences/wav/{dialog}/{dialog}_{number:04}.wav"
        targets.append((row, place))
    return targets
