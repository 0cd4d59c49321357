"""LibriSpeech's folders and file names for recordings of any names, as `prepare` writes them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from .corpus import SPLITS
from .table import CorpusRow
from .transcripts import FOLDERS

_FOLDER: dict[str, str] = {split: FOLDERS[split] for split in SPLITS}
_CHAPTER = "0"
"""Of recordings whose names say none."""


def librispeech_targets(rows: list[CorpusRow]) -> list[tuple[CorpusRow, str]]:
    """Return each row with its place below the corpus folder, without suffix; no name comes twice.

    A file named `<speaker>-<chapter>-<number>` keeps its name, others are numbered.
    """
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


def _own_name(row: CorpusRow, speaker: str) -> str | None:
    """Return the name of a file that is named as LibriSpeech's are."""
    parts = Path(row.file).stem.split("-")
    fits = len(parts) == 3 and parts[0] == speaker and parts[1].isalnum() and parts[2].isalnum()
    return "-".join(parts) if fits else None


def _speaker_names(rows: list[CorpusRow]) -> dict[str, str]:
    """Return for every speaker a folder name of its own, of letters, digits and underscores."""
    names: dict[str, str] = {}
    for speaker in sorted({row.speaker for row in rows}):
        plain = name = re.sub(r"[^A-Za-z0-9]+", "_", speaker)
        number = 2
        while name in names.values():
            name, number = f"{plain}_{number}", number + 1
        names[speaker] = name
    return names
