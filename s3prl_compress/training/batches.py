"""Batches of crops of audio.

A batch is a pure function of the files, the settings, the seed and the number of the batch. It
does not depend on workers, on the state of a random generator or on earlier batches, so that an
interrupted run resumes to bit-identical results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..audio import SAMPLING_RATE, AudioSet
from ..common.errors import InputError


def split_files(files: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Split the numbers 0 to `files` - 1 at random into training and validation files.

    Args:
        files: number of files.
        held_out: number of validation files.
        seed: random seed.

    Returns:
        The numbers of the training files and those of the validation files, both sorted.

    Raises:
        InputError: no file would be left to train on.
    """
    if held_out >= files:
        raise InputError(f"validation on {held_out} of {files} files leaves none to train on")
    drawn = np.random.default_rng(seed).permutation(files).tolist()
    return sorted(drawn[held_out:]), sorted(drawn[:held_out])


@dataclass(frozen=True)
class Crop:
    """A section of one file."""

    file: int
    """Number of the file in the `AudioSet`."""
    start: int
    """First sample. Always a multiple of the frame stride, so that the crop's frames coincide
    with frames of the whole file."""
    samples: int
    """Length in samples."""


@dataclass(frozen=True)
class AudioBatches:
    """An endless sequence of batches of crops; batch n is always the same.

    One pass over the audio cuts every file into as many crops of `crop_samples` as fit, at a
    random offset that changes with every pass; shorter files are used whole. Crops of similar
    length share a batch. A batch has at most `batch_samples` samples, including padding, and at
    least one crop.
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
        """Number of batches in one pass over the audio; the same for every pass."""
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
        # Lengths are rounded up to an eighth of a second before sorting: coarse enough that short
        # files are batched with different ones in every pass.
        step = SAMPLING_RATE // 8
        ceilings = [-(-crop.samples // step) * step for crop in crops]
        batches: list[list[Crop]] = []
        room = 0
        for position in sorted(order.tolist(), key=lambda number: -ceilings[number]):
            if not room:
                # Longest first: all crops of a batch are padded to the length of its first one.
                # How many fit follows from rounded lengths, which are the same in every pass; so
                # is the number of batches.
                batches.append([])
                room = max(self.batch_samples // ceilings[position], 1)
            batches[-1].append(crops[position])
            room -= 1
        return [batches[number] for number in random.permutation(len(batches))]

    def iterate(
        self, first: int = 0, workers: int = 0, share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[list[Crop], list[Tensor]]]:
        """Yield (crops, waveforms) of batch `first` and of all following batches, without end.

        Args:
            first: number of the first batch.
            workers: number of processes that decode in advance; the result does not depend on it.
            share: rank and world size (n, m): only the waveforms of crops n, n + m, n + 2 m, ...
                are read, possibly none. The crops are always those of the whole batch.

        Raises:
            InputError: a file can no longer be read; see `AudioSet.read`.
        """
        epoch, position = divmod(first, self.per_pass)
        while True:
            plan = self.plan(epoch)[position:]
            loader = DataLoader(
                _Planned(self.audio, [batch[share[0] :: share[1]] for batch in plan]),
                batch_size=None,
                num_workers=workers,
                # Its base seed would otherwise be drawn from torch's global generator.
                generator=torch.Generator(),
            )
            for crops, waveforms in zip(plan, loader, strict=True):
                if isinstance(waveforms, InputError):
                    raise waveforms
                yield crops, waveforms
            epoch, position = epoch + 1, 0


class _Planned(Dataset[list[Tensor] | InputError]):
    """The batches of a plan, read on demand.

    An `InputError` is returned, not raised: torch would add a worker's traceback to its message.
    """

    def __init__(self, audio: AudioSet, plan: list[list[Crop]]) -> None:
        self.audio, self.plan = audio, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> list[Tensor] | InputError:
        try:
            return [
                self.audio.read(crop.file, crop.start, crop.samples) for crop in self.plan[number]
            ]
        except InputError as error:
            return error
