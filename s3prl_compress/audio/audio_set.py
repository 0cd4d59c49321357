"""Untranscribed speech for training: a list of files, checked in advance, and their samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..common.errors import InputError
from ..common.faults import Faults
from ..common.file_hashes import HashedFiles
from .listing import list_audio, tell
from .reading import FULL_SCALE, SAMPLING_RATE, read_audio, read_header, to_int16

_THREADS = 8
"""Threads that hash files. They are limited by the disk or network, not by the CPU."""
_SILENCE_FILES, _SILENCE_SECONDS = 16, 60
"""How many files, and how much of each, `check_audible` reads."""


@dataclass(frozen=True)
class AudioSet:
    """Audio files in a fixed order, read as 16-bit mono at 16 kHz whatever their format."""

    root: Path
    files: tuple[str, ...]
    """Relative to `root`."""
    lengths: tuple[int, ...]
    """In samples at 16 kHz."""
    held: tuple[NDArray[np.int16], ...] | None = field(default=None, repr=False, compare=False)
    """Decoded samples of all files, 16 bits each (115 MB per hour); None: decode on demand."""
    selection: str = ""
    """Description of the part of the source that is used; empty for all of it."""

    @property
    def seconds(self) -> float:
        """Total duration in seconds."""
        return sum(self.lengths) / SAMPLING_RATE

    def read(self, index: int, start: int = 0, samples: int | None = None) -> Tensor:
        """Return samples of one file, 1-D float32 in [-1, 1).

        Args:
            index: which file.
            start: first sample.
            samples: number of samples; None: up to the end.

        Raises:
            InputError: the file can no longer be read, has become shorter, or its values are not
                audio; see `read_audio`.
        """
        wanted = self.lengths[index] - start if samples is None else samples
        if self.held is not None:
            part = self.held[index][start : start + wanted]
        else:
            part = _decode(self.root / self.files[index], start, wanted)
        if len(part) != wanted:
            raise InputError(
                f"{self.root / self.files[index]}: {len(part)} samples from {start} on, "
                f"{wanted} expected; the file changed since it was listed"
            )
        return torch.from_numpy(part.astype(np.float32) / FULL_SCALE)

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
        """Return a set of only the files with these indices."""
        return replace(
            self,
            files=tuple(self.files[index] for index in indices),
            lengths=tuple(self.lengths[index] for index in indices),
            held=None if self.held is None else tuple(self.held[index] for index in indices),
        )

    def of_at_least(self, samples: int) -> list[int]:
        """Return the indices of files with at least `samples` samples; print how many are shorter.

        Raises:
            InputError: all files are shorter.
        """
        long_enough = [index for index, length in enumerate(self.lengths) if length >= samples]
        if not long_enough:
            raise InputError(
                f"{self.root}: none of {len(self.files)} audio files has {samples} samples or more"
            )
        if short := len(self.files) - len(long_enough):
            tell(
                f"{self.root}: {short} of {len(self.files)} audio files are shorter than "
                f"{samples} samples and are skipped"
            )
        return long_enough

    def check_audible(self) -> None:
        """Check the beginning of some files, evenly spaced over the set, for digital silence.

        Raises:
            InputError: all samples in all of these files are zero.
        """
        step = -(-len(self.files) // _SILENCE_FILES)
        longest = _SILENCE_SECONDS * SAMPLING_RATE
        checked = [index for index in range(0, len(self.files), step) if self.lengths[index]]
        silent = [
            self.files[index]
            for index in checked
            if not self.read(index, 0, min(self.lengths[index], longest)).any()
        ]
        if not silent:
            return
        note = (
            f"{self.root}: digital silence in {len(silent)} of {len(checked)} audio files checked "
            f"(first: {silent[0]})"
        )
        if len(silent) == len(checked):
            raise InputError(f"{note}; check how they were written")
        tell(note)

    def contents(self) -> tuple[str, ...]:
        """Return the SHA-256 of every file's bytes, in hexadecimal digits.

        Files are read at up to some 60 GB per minute. The hashes of many files are remembered; see
        `common.file_hashes`.

        Raises:
            InputError: a file cannot be read.
        """
        return tuple(self.hashed().hashes)

    def hashed(self) -> HashedFiles:
        """Return the files with their hashes, which can say later whether they have changed."""
        return HashedFiles(self.root, self.files, "hashing audio")

    def fingerprint(self, contents: Sequence[str] | None = None) -> str:
        """Return the SHA-256 of names, lengths and contents (if None, those of `contents()`)."""
        contents = self.contents() if contents is None else contents
        rows = zip(self.files, self.lengths, contents, strict=True)
        lines = (f"{name}\t{length}\t{content}\n" for name, length, content in rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def described(self, source: Path) -> str:
        """Return the entry in an encoder's history: name of the source, part, and fingerprint."""
        part = f", {self.selection}" if self.selection else ""
        return f"{source.resolve().name}{part} (sha256 {self.fingerprint()})"


def open_audio(source: str | Path, *, minimum_samples: int = 400) -> AudioSet:
    """List the audio of a folder, or of a csv table with the column `file`, and check it.

    `list_audio` says which files are used. They may have any format, sampling rate and number of
    channels; see `read_audio`.

    Args:
        source: folder or table.
        minimum_samples: shorter files, in samples at 16 kHz, are skipped.

    Raises:
        InputError: there is no audio, or files are missing or unreadable; the message has their
            number and the first names.
    """
    listing = list_audio(Path(source))
    audio = open_files(source, listing.root, listing.files, minimum_samples=minimum_samples)
    return replace(audio, selection=listing.selection)


def open_files(
    source: str | Path, root: Path, names: Sequence[str], *, minimum_samples: int = 400
) -> AudioSet:
    """Open the audio files that `source` lists.

    Args:
        source: folder or table, for error messages.
        root: folder that `names` are relative to.
        names: the files.
        minimum_samples: shorter files, in samples at 16 kHz, are skipped.

    Raises:
        InputError: as for `open_audio`.
    """
    lengths: list[int] = []
    faults = Faults()
    for name in tqdm(names, desc="listing audio", unit="file"):
        try:
            lengths.append(read_header(root / name).length)
        except InputError:
            missing = not os.path.exists(root / name)  # also of names that are too long
            faults.add("missing file" if missing else "unreadable file", name)
    faults.raise_if_any(str(source), "replace them, or list only the others in a metadata.csv")
    audio = AudioSet(root, tuple(names), tuple(lengths))
    return audio.subset(audio.of_at_least(minimum_samples))


def _decode(path: Path, start: int, samples: int) -> NDArray[np.int16]:
    return to_int16(read_audio(path, start, samples))
