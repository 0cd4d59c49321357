"""Speech for methods that look at activations: a few minutes of a set of recordings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ..audio import SAMPLING_RATE, AudioSet
from ..common.errors import InputError


def waveforms(
    audio: AudioSet, *, seconds: float, minimum_samples: int, seed: int, longest: float = 15.0
) -> Iterator[Tensor]:
    """Yield 1-D waveforms at 16 kHz from recordings in a random but fixed order.

    Files are cut into pieces of `longest` seconds (attention's memory grows with their square);
    pieces of less than `minimum_samples` are skipped. Stops when `seconds` are reached or the
    files are used up.

    Raises:
        InputError: there is not one usable piece, or a file that cannot be read; see
            `AudioSet.read` and `check_audible`.
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
