"""The one audio reader: any format, rate and number of channels to 16 kHz mono."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from ..common.errors import InputError
from ..encoder import SAMPLING_RATE


@dataclass(frozen=True)
class Header:
    """What an audio file says of itself."""

    frames: int
    """Samples of each channel, at its own rate."""
    rate: int
    channels: int

    @property
    def length(self) -> int:
        """Samples at 16 kHz that `read_audio` returns of the whole file."""
        return -(-self.frames * SAMPLING_RATE // self.rate)


Samples = NDArray[np.float64]

FULL_SCALE = 32768
"""16-bit integers are scaled by it to [-1, 1)."""

_LOUDEST = 16.0
"""Times full scale. Beyond it (24 dB) a float file holds unscaled integers, not loud speech."""

_EXACT_SEEK = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Beginnings of the subtypes that are decoded sample by sample; FLAC's is PCM. After a seek, other
codecs give samples that differ a little (Opus) or, near the end, belong elsewhere (Vorbis)."""


def read_audio(
    path: str | Path, start: int = 0, samples: int | None = None, *, resample: bool = True
) -> Samples:
    """Return a recording, or part of it, as mono: [samples], float64, 16 kHz, full scale 1.

    Channels are averaged; other rates go through scipy's polyphase filter. A part equals the
    same part of the whole recording, to the bit; of Vorbis, Opus and MP3 everything before it is
    decoded, too.

    Args:
        path: of a file that libsndfile reads.
        start: first sample, counted at 16 kHz.
        samples: how many; fewer are returned where the file ends earlier. None: to its end.
        resample: False refuses every rate but 16 kHz.

    Raises:
        InputError: the file cannot be read or is empty, has another rate where `resample` is
            False, or its samples are no numbers or no audio.
    """
    with _opened(path) as file:
        if file.samplerate != SAMPLING_RATE and not resample:
            raise InputError(
                f"{path}: sampled at {file.samplerate} Hz, not {SAMPLING_RATE}; convert it, "
                "or the whole corpus with `s3prl-compress prepare`"
            )
        if not file.frames:
            raise InputError(f"{path}: holds no samples; remove it")
        wanted = _header(file).length - start
        if samples is not None:
            wanted = min(wanted, samples)
        if wanted <= 0:
            return np.zeros(0)
        if file.samplerate == SAMPLING_RATE:
            return _decode(file, path, start, wanted)
        return _resampled(file, path, start, wanted)


def read_header(path: str | Path) -> Header:
    """Return what a file says of itself; nothing is decoded.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        return _header(file)


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Round samples of full scale 1 to 16 bits, clipping what is beyond; 16-bit files are exact.

    Scaled by 2 ** 15 both ways: libsndfile's own conversion uses 2 ** 15 - 1 on the way out, and
    leaves float files unscaled on the way in, so that speech becomes silence.
    """
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def check_finite(samples: Samples, path: str | Path, rate: int, start: int = 0) -> None:
    """Refuse samples that are NaN or infinite: [samples] or [samples, channels].

    `start` is the number of the first one in the file, whose sampling rate is `rate`.
    """
    if not np.isfinite(samples).all():
        first = start + int(np.argwhere(~np.isfinite(samples))[0, 0])
        raise InputError(
            f"{path}: holds samples that are NaN or infinite (first: at {first / rate:.3f} s); "
            "repair or remove it"
        )


def _header(file: soundfile.SoundFile) -> Header:
    return Header(file.frames, file.samplerate, file.channels)


@contextmanager
def _opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except InputError:
        raise
    # TypeError: the name's suffix stands for headerless samples.
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error


def _decode(file: soundfile.SoundFile, path: str | Path, start: int, frames: int) -> Samples:
    """Return frames of an open file as mono at the file's own rate."""
    skipped = 0 if file.subtype.startswith(_EXACT_SEEK) else start
    if start and not skipped:
        file.seek(start)
    mono: Samples = file.read(skipped + frames, dtype="float64", always_2d=True).mean(axis=1)
    mono = mono[skipped:]
    check_finite(mono, path, file.samplerate, start)
    peak = np.abs(mono).max(initial=0.0)
    if peak > _LOUDEST:
        raise InputError(
            f"{path}: float samples as large as {peak:.4g} where full scale is 1; they look like "
            "integers: divide them by their own full scale"
        )
    return mono


def _resampled(file: soundfile.SoundFile, path: str | Path, start: int, samples: int) -> Samples:
    """Return samples at 16 kHz of an open file at another rate.

    Of a part only the frames are decoded that the filter reaches, from a frame on at which an
    output sample falls exactly: so the filter has the same phases as over the whole file.
    """
    divisor = math.gcd(file.samplerate, SAMPLING_RATE)
    up, down = SAMPLING_RATE // divisor, file.samplerate // divisor
    reach = 10 * max(up, down) // up + 1  # scipy's filter: 10 * max(up, down) taps to each side
    first = max(0, start * down // up - reach) // down * down
    last = min(file.frames, (start + samples) * down // up + reach + 1)
    part = resample_poly(_decode(file, path, first, last - first), up, down)
    offset = start - first // down * up
    return np.asarray(part[offset : offset + samples])
