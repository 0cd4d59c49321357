"""Untranscribed speech on disk, and the batches of crops that training takes from it.

A batch is a pure function of (files, settings, seed, its number): no worker, no position in a
random stream and no earlier batch has a say in it. So a run that was killed goes on exactly.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
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


def split_files(files: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the numbers of all but `held_out` of `files` files, and those of the rest, drawn.

    Raises:
        InputError: nothing would be left.
    """
    if held_out >= files:
        raise InputError(f"validation on {held_out} of {files} files leaves none to train on")
    drawn = np.random.default_rng(seed).permutation(files).tolist()
    return sorted(drawn[held_out:]), sorted(drawn[:held_out])


@dataclass(frozen=True)
class Crop:
    """A stretch of one file."""

    file: int
    """Its number in the `AudioSet`."""
    start: int
    """In samples; a whole number of frames, so that frame targets of the file hold here too."""
    samples: int


@dataclass(frozen=True)
class AudioBatches:
    """Endless batches of crops; batch n is the same whenever it is asked for.

    A pass cuts every file into as many crops of `crop_samples` as fit, at an offset of its own in
    every pass; shorter files are taken whole. Crops of like length go together, and a batch
    holds at most `batch_samples` of them, padding included (but always one crop).
    """

    audio: AudioSet
    crop_samples: int
    batch_samples: int
    seed: int
    alignment: int = 320
    """Crops start at multiples of this many samples: the encoder's stride."""

    def __post_init__(self) -> None:
        if self.crop_samples < 1 or self.batch_samples < 1 or not self.audio.files:
            raise ValueError("crops, batches and the audio must not be empty")

    @cached_property
    def per_pass(self) -> int:
        """Batches in one pass over the audio: the same number in every pass."""
        return len(self.plan(0))

    def plan(self, epoch: int) -> list[list[Crop]]:
        """Return the batches of one pass."""
        random = np.random.default_rng([self.seed, epoch])
        crops = []
        for index, length in enumerate(self.audio.lengths):
            pieces = max(1, length // self.crop_samples)
            samples = min(length, self.crop_samples)
            slack = (length - pieces * samples) // self.alignment
            offset = int(random.integers(slack + 1))
            for piece in range(pieces):
                start = offset + piece * samples // self.alignment
                crops.append(Crop(index, start * self.alignment, samples))
        order = random.permutation(len(crops))
        # Steps of an eighth of a second: coarse enough that short files change mates.
        step = SAMPLING_RATE // 8
        ceilings = [-(-crop.samples // step) * step for crop in crops]
        batches: list[list[Crop]] = []
        room = 0
        for position in sorted(order.tolist(), key=lambda number: -ceilings[number]):
            if not room:
                # Longest first: a batch's first crop says how long all are padded to. How many
                # fit follows from the ceilings alone, so every pass has as many batches.
                batches.append([])
                room = max(self.batch_samples // ceilings[position], 1)
            batches[-1].append(crops[position])
            room -= 1
        return [batches[number] for number in random.permutation(len(batches))]

    def iterate(
        self, first: int = 0, workers: int = 0
    ) -> Iterator[tuple[list[Crop], list[Tensor]]]:
        """Yield (crops, waveforms) of batch `first` and all that follow it, without end.

        `workers`: processes that decode ahead; they do not change what is yielded.
        """
        epoch, position = divmod(first, self.per_pass)
        while True:
            plan = self.plan(epoch)[position:]
            loader = DataLoader(
                _Planned(self.audio, plan),
                batch_size=None,
                num_workers=workers,
                # Its base seed would otherwise be drawn from torch's global generator.
                generator=torch.Generator(),
            )
            yield from zip(plan, loader, strict=True)
            epoch, position = epoch + 1, 0


class _Planned(Dataset[list[Tensor]]):
    """The batches of a plan, read when they are asked for."""

    def __init__(self, audio: AudioSet, plan: list[list[Crop]]) -> None:
        self.audio, self.plan = audio, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> list[Tensor]:
        return [self.audio.read(crop.file, crop.start, crop.samples) for crop in self.plan[number]]
