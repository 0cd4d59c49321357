"""Calibration speech: a few minutes of a set of recordings, and the settings that name it.

Also the speech on which an exported model is compared with its encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import PrivateAttr
from torch import Tensor

from ..audio import SAMPLING_RATE, AudioSet, open_audio
from ..common.errors import InputError
from ..common.method_config import MethodConfig
from ..encoder.exporters import Speech

EXPORT_SECONDS = 30.0
"""Amount of speech on which an exported model is compared with its encoder."""
_FEWEST_SAMPLES = 8_000
"""Half a second: of shorter pieces, the mean over time is most of a state."""


class CalibratedConfig(MethodConfig):
    """Base of the settings of methods that measure something on recordings."""

    _listed: AudioSet | None = PrivateAttr(default=None)

    def listed(self, audio: Path) -> AudioSet:
        """Return names and lengths of the audio files, which the first call checks."""
        if self._listed is None:
            self._listed = open_audio(audio, minimum_samples=1)
        return self._listed


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


def export_speech(audio: str | Path | None = None, *, minimum_samples: int = 0) -> Speech:
    """Return the speech on which the export of a model is compared with it.

    Args:
        audio: a folder or csv table of recordings; None: speech of the packaged demo corpus.
        minimum_samples: of the shortest input that the model takes.

    Raises:
        InputError: there are no recordings of half a second or more.
    """
    packaged = resources.files("s3prl_compress.recipes") / "demo_corpus" / "asr"
    source = Path(str(packaged)) if audio is None else Path(audio)
    name = "the packaged demo corpus" if audio is None else source.resolve().name
    fewest = max(_FEWEST_SAMPLES, minimum_samples)
    chosen = waveforms(
        open_audio(source, minimum_samples=fewest),
        seconds=EXPORT_SECONDS,
        minimum_samples=fewest,
        seed=0,
    )
    return Speech(list(chosen), name)
