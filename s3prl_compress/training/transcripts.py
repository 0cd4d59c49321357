"""Transcribed speech on disk: LibriSpeech's layout, or a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError
from .audio import SUFFIXES, AudioSet, open_files

Split = Literal["train", "dev", "test"]

_COLUMNS = ("transcript", "text")
_SPLITS: dict[str, Split] = {"train": "train", "dev": "dev", "valid": "dev", "test": "test"}


@dataclass(frozen=True)
class TranscribedAudio:
    """Audio files and what is said in them."""

    audio: AudioSet
    texts: tuple[str, ...]
    """One per file."""

    def subset(self, indices: Sequence[int]) -> TranscribedAudio:
        """Return the files of these numbers only."""
        texts = tuple(self.texts[index] for index in indices)
        return TranscribedAudio(self.audio.subset(indices), texts)


@dataclass(frozen=True)
class _Utterance:
    file: str
    """Relative to the root."""
    text: str
    split: Split | None
    """None where the source does not say."""


def open_transcribed(
    source: str | Path, split: Split | None = None, *, minimum_samples: int = 400
) -> TranscribedAudio:
    """List transcribed speech, and check it.

    A csv table (or a folder with a `metadata.csv`) has the columns `file`, relative to it, and
    `transcript` or `text`, and may have `split` (train, dev or valid, test). Any other folder is
    searched for LibriSpeech's `*.trans.txt`, whose lines are an utterance's name and its text,
    with the audio beside them; folders `train-...`, `dev-...`, `test-...` are its splits.

    Args:
        source: folder or table.
        split: only this one; all of it for None. A source without any splits is taken whole.
        minimum_samples: shorter files are left out.

    Raises:
        InputError: nothing there, no such split, utterances without a text or without audio.
    """
    source = Path(source)
    table = source / "metadata.csv" if source.is_dir() else source
    if table.is_file():
        root, found = table.parent, _read_table(table)
    elif source.is_dir():
        root, found = source, _read_folder(source)
    else:
        raise InputError(f"{source}: no such folder or table of transcribed speech")
    chosen = _choose(found, split, source)
    texts = {utterance.file: utterance.text for utterance in chosen}
    audio = open_files(source, root, sorted(texts), minimum_samples=minimum_samples)
    return TranscribedAudio(audio, tuple(texts[name] for name in audio.files))


def _read_table(table: Path) -> list[_Utterance]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            column = next((name for name in _COLUMNS if name in columns), None)
            if "file" not in columns or column is None:
                raise InputError(
                    f"{table}: a table of transcribed speech needs the columns `file` and "
                    "`transcript` in its first line"
                )
            rows = [(row["file"], row[column] or "", row.get("split") or "") for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table}: cannot be read as a table ({error})") from error
    wrong = sorted({split for _, _, split in rows if split and split not in _SPLITS})
    if wrong:
        raise InputError(f"{table}: split {wrong[0]!r} is none of {', '.join(_SPLITS)}")
    return _checked(
        table, (_Utterance(name, text, _SPLITS.get(split)) for name, text, split in rows)
    )


def _read_folder(root: Path) -> list[_Utterance]:
    lists = sorted(root.rglob("*.trans.txt"))
    if not lists:
        raise InputError(
            f"{root}: no transcripts in it; it must hold *.trans.txt as LibriSpeech does, or a "
            "metadata.csv with the columns `file` and `transcript`"
        )
    found, lost = [], []
    for path in lists:
        beside = {file.stem: file for file in path.parent.iterdir() if file.suffix in SUFFIXES}
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, text = line.strip().partition(" ")
            if name in beside:
                file = beside[name].relative_to(root)
                split = _SPLITS.get(file.parts[0].split("-")[0])
                found.append(_Utterance(file.as_posix(), text, split))
            elif name:
                lost.append(str(path.parent / name))
    if lost:
        raise InputError(
            f"{root}: {len(lost)} transcribed utterances have no audio (first: {lost[0]}); add it, "
            "or take their lines out of *.trans.txt"
        )
    return _checked(root, found)


def _checked(source: Path, utterances: Iterable[_Utterance]) -> list[_Utterance]:
    found = list(utterances)
    empty = [utterance.file for utterance in found if not utterance.text.strip()]
    if empty:
        raise InputError(
            f"{source}: {len(empty)} utterances have no text (first: {empty[0]}); transcribe them "
            "or leave them out"
        )
    return found


def _choose(found: list[_Utterance], split: Split | None, source: Path) -> list[_Utterance]:
    splits = sorted({utterance.split for utterance in found if utterance.split})
    if split is None or not splits:
        return found
    chosen = [utterance for utterance in found if utterance.split == split]
    if not chosen:
        raise InputError(f"{source}: nothing of split {split!r}; there are: {', '.join(splits)}")
    return chosen
