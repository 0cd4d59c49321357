"""Transcribed speech on disk, in LibriSpeech's layout or listed by a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ..common.errors import InputError
from ..common.faults import Faults
from .audio_set import AudioSet, open_files
from .listing import SUFFIXES
from .table import SPLIT_NAMES, TEXT, TEXT_ALIAS, Split, decode_text, find_table, read_rows


@dataclass(frozen=True)
class TranscribedAudio:
    """Audio files and their transcripts."""

    audio: AudioSet
    texts: tuple[str, ...]
    """One per file."""
    speakers: tuple[str, ...]
    """One per file; "" if unknown."""

    def subset(self, indices: Sequence[int]) -> TranscribedAudio:
        """Return a set of only the files with these indices."""
        texts = tuple(self.texts[index] for index in indices)
        speakers = tuple(self.speakers[index] for index in indices)
        return TranscribedAudio(self.audio.subset(indices), texts, speakers)


@dataclass(frozen=True)
class _Utterance:
    file: str
    """Relative to the root."""
    text: str
    split: Split | None
    """None if the source does not say."""
    speaker: str
    """Empty if the source does not say."""


def open_transcribed(
    source: str | Path, split: Split | None = None, *, minimum_samples: int = 400
) -> TranscribedAudio:
    """List transcribed speech, and check it.

    A csv table (or a folder with a `metadata.csv`) has the columns `file`, relative to the table,
    and `text` (or `transcript`), and may have `split` (train, dev or valid, test) and `speaker`.
    Any other folder is searched for LibriSpeech's `<speaker>-<chapter>.trans.txt`: each line is
    the name of an utterance and its text, and the audio files are beside it. Its splits are the
    folders `train-...`, `dev-...` and `test-...`.

    Args:
        source: folder or table.
        split: the split to list; None: all. It has no effect if the source has no splits.
        minimum_samples: shorter files, in samples at 16 kHz, are skipped.

    Raises:
        InputError: there is no such source or split, utterances have no text or no audio, or a
            table has other faults.
    """
    source = Path(source)
    table = find_table(source)
    if table is not None:
        root, utterances = table.parent, _read_table(table)
    elif source.is_dir():
        root, utterances = source, _read_folder(source)
    else:
        raise InputError(f"{source}: no such folder or table of transcribed speech")
    chosen = _choose(utterances, split, source)
    listed = {utterance.file: utterance for utterance in chosen}
    audio = open_files(source, root, sorted(listed), minimum_samples=minimum_samples)
    kept = [listed[name] for name in audio.files]
    return TranscribedAudio(
        audio,
        tuple(utterance.text for utterance in kept),
        tuple(utterance.speaker for utterance in kept),
    )


def read_transcripts(path: Path) -> dict[str, str]:
    """Read one of LibriSpeech's `*.trans.txt`, as texts by the names of utterances.

    Raises:
        InputError: it cannot be read, or has two lines for one utterance.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    texts: dict[str, str] = {}
    for line in decode_text(path, data).splitlines():
        name, _, text = line.strip().partition(" ")
        if name in texts:
            raise InputError(f"{path}: two lines for {name}; remove one")
        if name:
            texts[name] = text.strip()
    return texts


def _read_table(table: Path) -> list[_Utterance]:
    faults = Faults()
    utterances = []
    for row in read_rows(table, ("file", TEXT), faults):
        split, text = row.cells.get("split", ""), row.cells[TEXT]
        if split and split not in SPLIT_NAMES:
            faults.add(f"split that is none of {', '.join(SPLIT_NAMES)}", f"{split!r}")
        if not text:
            faults.add("empty text", row.file)
        speaker = row.cells.get("speaker", "")
        utterances.append(_Utterance(row.file, text, SPLIT_NAMES.get(split), speaker))
    faults.raise_if_any(str(table), "correct the table")
    return utterances


def _read_folder(root: Path) -> list[_Utterance]:
    lists = sorted(root.rglob("*.trans.txt"))
    if not lists:
        raise InputError(
            f"{root}: contains no transcripts; it must have *.trans.txt as in LibriSpeech, or a "
            f"metadata.csv with the columns `file` and `{TEXT}` (or `{TEXT_ALIAS}`)"
        )
    utterances = []
    faults = Faults()
    for path in lists:
        speaker = path.name.partition("-")[0] if "-" in path.name else ""
        beside = {
            file.stem: file
            for file in sorted(path.parent.iterdir())
            if file.suffix.lower() in SUFFIXES
        }
        for name, text in read_transcripts(path).items():
            if name not in beside:
                faults.add("transcript without a recording", (path.parent / name).as_posix())
                continue
            file = beside[name].relative_to(root)
            if not text:
                faults.add("empty text", file.as_posix())
            utterances.append(_Utterance(file.as_posix(), text, _split_of(file), speaker))
    faults.raise_if_any(str(root), "add what is missing, or remove these lines of *.trans.txt")
    return utterances


def _split_of(file: PurePath) -> Split | None:
    """Return the split that a folder names, at any level: the given folder may lie above."""
    named = (SPLIT_NAMES.get(folder.split("-")[0]) for folder in file.parts[:-1])
    return next((split for split in named if split), None)


def _choose(utterances: list[_Utterance], split: Split | None, source: Path) -> list[_Utterance]:
    splits = sorted({utterance.split for utterance in utterances if utterance.split})
    if split is None or not splits:
        return utterances
    chosen = [utterance for utterance in utterances if utterance.split == split]
    if not chosen:
        raise InputError(f"{source}: nothing of split {split!r}; there are: {', '.join(splits)}")
    return chosen
