"""Calibration speech: a few minutes of a set of recordings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ...audio import SAMPLING_RATE, AudioSet
from ...common.errors import InputError


def waveforms(
    audio: AudioSet, *, seconds: float, minimum_samples: int, seed: int, longest: float = 15.0
) -> Iterator[Tensor]:
    """Yield 1-D waveforms at 16 kHz from recordings, in an order that only the seed decides.

    Args:
        audio: the recordings.
        seconds: total duration at which to stop.
        minimum_samples: shorter pieces are skipped.
        seed: random seed for the order.
        longest: seconds at which files are cut into pieces, because the memory of attention grows
            with the square of their length.

    Raises:
        InputError: no piece is long enough, a file cannot be read, or all are silent.
    """
    audio.check_audible()
    wanted = int(seconds * SAMPLING_RATE)
    piece = int(longest * SAMPLING_RATE)
    given = 0
    for position in np.random.default_rng(seed).permutation(len(audio.files)):
        samples = audio.read(int(position))
        for start in range(0, len(samples), piece):
            part = samples[start : start + min(piece, wanted - given)]
            if len(part) >= minimum_samples:
                yield part
                given += len(part)
            if wanted - given < minimum_samples:
                return
    if not given:
        raise InputError(f"{audio.root}: no file in it is as long as {minimum_samples} samples")
