"""Writing transcribed recordings in LibriSpeech's layout, which both engines read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

from ...common.faults import Faults
from ..base.characters import plain_transcript
from ..base.corpus import SPLITS
from ..base.prepare import Layout, check_output, packaged_table, prepare_layout
from ..base.table import Form, Row, read_table
from ..base.transcripts import FOLDERS, check_text

DEMO_NAME = "generated demo sentences"

_FOLDER: dict[str, str] = {split: FOLDERS[split] for split in SPLITS}
_CHAPTER = "0"
"""Chapter of recordings whose names give none."""


def prepare_transcripts(metadata: Path, output: Path, *, name: str | None = None) -> Path:
    """Write a corpus for recognition from a table with the columns file, text, speaker, split.

    The result is 16-bit mono wav at 16 kHz in LibriSpeech's folders, with its `*.trans.txt`,
    and a `corpus.json`. A file named `<speaker>-<chapter>-<number>` keeps its name, others are
    numbered. `name` is what reports call the corpus; without it the name of the table's folder.

    `output` appears whole or not at all. One that was prepared from the same table and the same
    recordings is left as it is; any other content there is an `InputError`, as is every fault of
    the table.
    """
    metadata, output = Path(metadata), Path(output)
    return _prepare(metadata, output, name or metadata.resolve().parent.name, generated=False)


def demo_transcripts(output: Path) -> Path:
    """Unpack the packaged sentences of generated speech into LibriSpeech's layout at `output`."""
    with packaged_table("asr") as table:
        return _prepare(table, Path(output), DEMO_NAME, generated=True)


def _prepare(metadata: Path, output: Path, name: str, *, generated: bool) -> Path:
    check_output(output)
    rows = read_table(metadata, Form(label_column="text"), _check_texts)
    targets = _targets(rows)
    layout = Layout(
        "asr",
        "transcripts",
        classes=(),
        recordings=[(row.path, f"{target}.wav") for row, target in targets],
        texts=_lists(targets),
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name=name, generated=generated, table=metadata, sources=sources
    )


def _check_texts(rows: list[Row], faults: Faults) -> None:
    for row in rows:
        check_text(row.label, row.file, faults)
    for split in SPLITS:
        if all(row.split != split for row in rows):
            faults.add("split without a recording", split)


def _targets(rows: list[Row]) -> list[tuple[Row, str]]:
    """Return each row's place below the corpus folder, without suffix; names are unique."""
    speakers = _speaker_names(rows)
    names = [_own_name(row, speakers[row.speaker]) for row in rows]
    counts = Counter((row.split, name) for row, name in zip(rows, names, strict=True))
    taken = {key for key, count in counts.items() if count == 1}
    takes: Counter[tuple[str, str]] = Counter()
    targets = []
    for row, name in zip(rows, names, strict=True):
        speaker = speakers[row.speaker]
        if name is None or counts[row.split, name] > 1:
            name = None
            while name is None or (row.split, name) in taken:
                name = f"{speaker}-{_CHAPTER}-{takes[speaker, row.split]:04}"
                takes[speaker, row.split] += 1
            taken.add((row.split, name))
        chapter = name.split("-")[1]
        targets.append((row, f"{_FOLDER[row.split]}/{speaker}/{chapter}/{name}"))
    return targets


def _own_name(row: Row, speaker: str) -> str | None:
    """Return the name of a file that is named as LibriSpeech's are."""
    parts = Path(row.file).stem.split("-")
    fits = len(parts) == 3 and parts[0] == speaker and parts[1].isalnum() and parts[2].isalnum()
    return "-".join(parts) if fits else None


def _speaker_names(rows: list[Row]) -> dict[str, str]:
    """Return a folder name for every speaker: unique, of letters, digits and underscores."""
    names: dict[str, str] = {}
    for speaker in sorted({row.speaker for row in rows}):
        plain = name = re.sub(r"[^A-Za-z0-9]+", "_", speaker)
        number = 2
        while name in names.values():
            name, number = f"{plain}_{number}", number + 1
        names[speaker] = name
    return names


def _lists(targets: list[tuple[Row, str]]) -> dict[str, str]:
    """Return the content of every `*.trans.txt` by its path below the corpus folder."""
    lines: dict[str, list[str]] = defaultdict(list)
    for row, target in sorted(targets, key=lambda pair: pair[1]):
        folder, name = target.rsplit("/", 1)
        speaker, chapter = folder.split("/")[-2:]
        text = plain_transcript(row.label)
        lines[f"{folder}/{speaker}-{chapter}.trans.txt"].append(f"{name} {text}\n")
    return {path: "".join(found) for path, found in lines.items()}
