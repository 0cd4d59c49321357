"""Untranscribed speech on disk: which files, checked before any work starts, and their samples."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from ..encoder import SAMPLING_RATE
from ..errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class AudioSet:
    """Audio files of 16 kHz mono, in a fixed order."""

    root: Path
    files: tuple[str, ...]
    """Relative to `root`."""
    lengths: tuple[int, ...]
    """In samples."""
    held: tuple[Samples, ...] | None = field(default=None, repr=False, compare=False)
    """All samples, decoded, 16 bits each (115 MB an hour); None: decoded on the fly."""

    @property
    def seconds(self) -> float:
        """Duration of all files together."""
        return sum(self.lengths) / SAMPLING_RATE

    def read(self, index: int, start: int = 0, samples: int | None = None) -> Tensor:
        """Return samples of one file, 1-D float32 in [-1, 1); to its end if `samples` is None.

        Raises:
            InputError: the file can no longer be read, or has become shorter.
        """
        wanted = self.lengths[index] - start if samples is None else samples
        if self.held is not None:
            found = self.held[index][start : start + wanted]
        else:
            found = _decode(self.root / self.files[index], start, wanted)
        if len(found) != wanted:
            raise InputError(
                f"{self.root / self.files[index]}: {len(found)} samples from {start} on, "
                f"{wanted} expected; the file changed since it was listed"
            )
        return torch.from_numpy(found.astype(np.float32) / 32768)

    def hold(self) -> AudioSet:
        """Return this set with all of its audio decoded in memory."""
        if self.held is not None:
            return self
        progress = tqdm(range(len(self.files)), desc="decoding", unit="file")
        held = tuple(
            _decode(self.root / self.files[index], 0, self.lengths[index]) for index in progress
        )
        return replace(self, held=held)

    def subset(self, indices: Sequence[int]) -> AudioSet:
        """Return the files of these numbers only."""
        return AudioSet(
            self.root,
            tuple(self.files[index] for index in indices),
            tuple(self.lengths[index] for index in indices),
            None if self.held is None else tuple(self.held[index] for index in indices),
        )

    def of_at_least(self, samples: int) -> list[int]:
        """Return the numbers of the files that have `samples` or more.

        Raises:
            InputError: there are none.
        """
        found = [number for number, length in enumerate(self.lengths) if length >= samples]
        if not found:
            raise InputError(
                f"{self.root}: none of {len(self.files)} audio files has {samples} samples or more"
            )
        return found

    def fingerprint(self) -> str:
        """Return the SHA-256 of names and lengths (the samples themselves are not read)."""
        lines = (
            f"{name}\t{length}\n" for name, length in zip(self.files, self.lengths, strict=True)
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def open_audio(source: str | Path, *, minimum_samples: int = 400) -> AudioSet:
    """List the audio of a folder, or of a csv table with the column `file`, and check it.

    A folder is searched for wav, flac and ogg files at any depth (so LibriSpeech's layout will
    do); where it holds a `metadata.csv`, that table says which. Paths in a table are relative to
    it. Files of less than `minimum_samples` are left out.

    Raises:
        InputError: nothing there, or files that are missing, unreadable, not of 16 kHz, or not
            mono: how many of each, and the first one by name.
    """
    root, names = _names(Path(source))
    return open_files(source, root, names, minimum_samples=minimum_samples)


def open_files(
    source: str | Path, root: Path, names: Sequence[str], *, minimum_samples: int = 400
) -> AudioSet:
    """Check the audio files `names`, relative to `root`, that `source` is said to hold.

    Files of less than `minimum_samples` are left out.

    Raises:
        InputError: as `open_audio`.
    """
    lengths: dict[str, int] = {}
    faults: dict[str, list[str]] = {}
    for name in tqdm(names, desc="listing audio", unit="file"):
        try:
            info = soundfile.info(root / name)
        except (soundfile.SoundFileError, OSError):
            fault = "unreadable" if (root / name).exists() else "missing"
            faults.setdefault(fault, []).append(name)
            continue
        if info.samplerate != SAMPLING_RATE:
            faults.setdefault(f"not of {SAMPLING_RATE} Hz", []).append(name)
        elif info.channels != 1:
            faults.setdefault("not mono", []).append(name)
        elif info.frames >= minimum_samples:
            lengths[name] = info.frames
    if faults:
        texts = [f"{len(found)} {fault} (first: {found[0]})" for fault, found in faults.items()]
        raise InputError(
            f"{source}: of {len(names)} audio files {', '.join(texts)}; "
            f"convert them to {SAMPLING_RATE} Hz mono, or list good ones in a metadata.csv"
        )
    if not lengths:
        raise InputError(
            f"{source}: none of {len(names)} audio files has {minimum_samples} samples or more"
        )
    return AudioSet(root, tuple(lengths), tuple(lengths.values()))


def _names(source: Path) -> tuple[Path, list[str]]:
    """Return the folder that names are relative to, and the names, sorted."""
    table = source / "metadata.csv" if source.is_dir() else source
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if rows.fieldnames is None or "file" not in rows.fieldnames:
                raise InputError(
                    f"{table}: a table of audio needs a column `file` in its first line"
                )
            names = sorted({row["file"] for row in rows})
        root = table.parent
    elif source.is_dir():
        root = source
        names = sorted(
            path.relative_to(source).as_posix()
            for path in source.rglob("*")
            if path.suffix.lower() in SUFFIXES
        )
    else:
        raise InputError(f"{source}: no such folder or table; give one of wav, flac or ogg files")
    if not names:
        raise InputError(f"{source}: no audio in it; it must hold wav, flac or ogg files")
    return root, names


def _decode(path: Path, start: int, samples: int) -> Samples:
    try:
        with soundfile.SoundFile(path) as file:
            if start:
                file.seek(start)
            return file.read(samples, dtype="int16")
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error
