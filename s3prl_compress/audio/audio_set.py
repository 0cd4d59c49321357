"""Speech to learn from: which files, checked before any work starts, and their samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..common.errors import InputError
from ..common.faults import Faults
from .listing import list_audio, tell
from .reading import FULL_SCALE, SAMPLING_RATE, read_audio, read_header, to_int16

_THREADS = 8
"""Hash files: they wait for a disk or network rather than compute."""
_LISTENED_FILES, _LISTENED_SECONDS = 16, 60


@dataclass(frozen=True)
class AudioSet:
    """Audio files in a fixed order, read as 16-bit mono at 16 kHz whatever their format is."""

    root: Path
    files: tuple[str, ...]
    """Relative to `root`."""
    lengths: tuple[int, ...]
    """In samples at 16 kHz."""
    held: tuple[NDArray[np.int16], ...] | None = field(default=None, repr=False, compare=False)
    """All samples, decoded, 16 bits each (115 MB an hour); None: decoded on the fly."""
    selection: str = ""
    """Which part of the source it is, in words; empty for all of it."""

    @property
    def seconds(self) -> float:
        """Duration of all files together."""
        return sum(self.lengths) / SAMPLING_RATE

    def read(self, index: int, start: int = 0, samples: int | None = None) -> Tensor:
        """Return samples of one file, 1-D float32 in [-1, 1); to its end if `samples` is None.

        Raises:
            InputError: the file can no longer be read, has become shorter, or holds values that
                are no audio; see `read_audio`.
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
        return torch.from_numpy(found.astype(np.float32) / FULL_SCALE)

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
        return replace(
            self,
            files=tuple(self.files[index] for index in indices),
            lengths=tuple(self.lengths[index] for index in indices),
            held=None if self.held is None else tuple(self.held[index] for index in indices),
        )

    def of_at_least(self, samples: int) -> list[int]:
        """Return the numbers of the files that have `samples` or more; say how many have fewer.

        Raises:
            InputError: there are none.
        """
        found = [number for number, length in enumerate(self.lengths) if length >= samples]
        if not found:
            raise InputError(
                f"{self.root}: none of {len(self.files)} audio files has {samples} samples or more"
            )
        if short := len(self.files) - len(found):
            tell(
                f"{self.root}: {short} of {len(self.files)} audio files are shorter than "
                f"{samples} samples and left out"
            )
        return found

    def check_audible(self) -> None:
        """Check the beginning of some files, evenly spaced over the set, for digital silence.

        Raises:
            InputError: none of them has a sample other than zero.
        """
        step = -(-len(self.files) // _LISTENED_FILES)
        longest = _LISTENED_SECONDS * SAMPLING_RATE
        heard = [index for index in range(0, len(self.files), step) if self.lengths[index]]
        silent = [
            self.files[index]
            for index in heard
            if not self.read(index, 0, min(self.lengths[index], longest)).any()
        ]
        if not silent:
            return
        found = (
            f"{self.root}: digital silence in {len(silent)} of {len(heard)} audio files looked at "
            f"(first: {silent[0]})"
        )
        if len(silent) == len(heard):
            raise InputError(f"{found}; check how they were written")
        tell(found)

    def contents(self) -> tuple[str, ...]:
        """Return the SHA-256 of every file's bytes, in hexadecimal digits.

        All of them are read, some 60 GB a minute where the disk gives as much; what was read
        before in this process is not read again, unless its size or time of change differ.

        Raises:
            InputError: a file cannot be read.
        """
        paths = [self.root / name for name in self.files]
        with (
            ThreadPool(_THREADS) as pool,
            tqdm(total=len(paths), desc="hashing audio", unit="file", delay=2, leave=False) as bar,
        ):
            found = []
            for content in pool.imap(_content, paths, chunksize=16):
                found.append(content)
                bar.update()
        return tuple(found)

    def fingerprint(self) -> str:
        """Return the SHA-256 of names, lengths and contents; see `contents`."""
        rows = zip(self.files, self.lengths, self.contents(), strict=True)
        lines = (f"{name}\t{length}\t{content}\n" for name, length, content in rows)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def described(self, source: Path) -> str:
        """Return what a history keeps: the name of the source, the part of it, the fingerprint."""
        part = f", {self.selection}" if self.selection else ""
        return f"{source.resolve().name}{part} (sha256 {self.fingerprint()})"


def open_audio(source: str | Path, *, minimum_samples: int = 400) -> AudioSet:
    """List the audio of a folder, or of a csv table with the column `file`, and check it.

    See `list_audio` for which files are taken. Any format, rate and number of channels will do,
    see `read_audio`. Files of less than `minimum_samples` at 16 kHz are left out.

    Raises:
        InputError: nothing there, or files that are missing or unreadable: how many, and the
            first ones by name.
    """
    listing = list_audio(Path(source))
    audio = open_files(source, listing.root, listing.files, minimum_samples=minimum_samples)
    return replace(audio, selection=listing.selection)


def open_files(
    source: str | Path, root: Path, names: Sequence[str], *, minimum_samples: int = 400
) -> AudioSet:
    """Check the audio files `names`, relative to `root`, that `source` is said to hold.

    Files of less than `minimum_samples` are left out.

    Raises:
        InputError: as `open_audio`.
    """
    lengths: list[int] = []
    faults = Faults()
    for name in tqdm(names, desc="listing audio", unit="file"):
        try:
            lengths.append(read_header(root / name).length)
        except InputError:
            missing = not (root / name).exists()
            faults.add("missing file" if missing else "unreadable file", name)
    faults.raise_if_any(str(source), "replace them, or list the others in a metadata.csv")
    audio = AudioSet(root, tuple(names), tuple(lengths))
    return audio.subset(audio.of_at_least(minimum_samples))


def _decode(path: Path, start: int, samples: int) -> NDArray[np.int16]:
    return to_int16(read_audio(path, start, samples))


def _content(path: Path) -> str:
    try:
        facts = path.stat()
        return _hash(os.path.abspath(path), facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


@cache
def _hash(path: str, size: int, changed: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
