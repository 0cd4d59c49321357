"""Batches of crops of audio.

A batch is a pure function of (files, settings, seed, its number): no worker, no position in a
random stream and no earlier batch has a say in it. So a run that was killed goes on exactly.
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
        self, first: int = 0, workers: int = 0, share: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[list[Crop], list[Tensor]]]:
        """Yield (crops, waveforms) of batch `first` and all that follow it, without end.

        Args:
            first: number of the first batch.
            workers: processes that decode ahead; they do not change what is yielded.
            share: (n, m): the waveforms are those of crops n, n + m, n + 2 m, ... only, which
                may be none; the crops are always those of the whole batch.

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
    """The batches of a plan, read when they are asked for.

    An `InputError` is returned, not raised: torch would put a worker's traceback in its message.
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
