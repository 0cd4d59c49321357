"""The audio reader: files of any format, rate and number of channels as 16 kHz mono."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..common.errors import InputError
from ..encoder import SAMPLING_RATE


@dataclass(frozen=True)
class Header:
    """The header of an audio file."""

    frames: int
    """Samples per channel, at the file's own rate."""
    rate: int
    channels: int

    @property
    def length(self) -> int:
        """Number of samples at 16 kHz that `read_audio` returns for the whole file."""
        return -(-self.frames * SAMPLING_RATE // self.rate)


Samples = NDArray[np.float64]

FULL_SCALE = 32768
"""Factor between 16-bit integers and samples in [-1, 1)."""

_LOUDEST = 16.0
"""Times full scale. A float file above this (24 dB) holds unscaled integers, not loud speech."""

_RATES = range(1_000, 768_001)
"""Sampling rates that are read. At a rate from a damaged header, the resampling filter or the
result would exhaust the memory."""

_BLOCK = 1 << 22
"""Number of samples that are decoded at once. Headers can claim far more than files hold."""

_EXACT_SEEK = ("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Prefixes of the subtypes in which seeking is exact; FLAC's is PCM. In other codecs, samples after
a seek differ slightly (Opus) or, near the end, are from another position (Vorbis)."""


def read_audio(
    path: str | Path, start: int = 0, samples: int | None = None, *, resample: bool = True
) -> Samples:
    """Return a recording, or part of it, as mono: [samples], float64, 16 kHz, full scale 1.

    Channels are averaged; other rates are resampled by scipy's polyphase filter. A part is
    bit-identical to the same part of the whole recording. For this, everything before it is
    decoded as well in Vorbis, Opus and MP3.

    Args:
        path: a file in a format of libsndfile.
        start: first sample, at 16 kHz.
        samples: number of samples at 16 kHz; fewer are returned if the file ends earlier. None: up
            to the end.
        resample: whether rates other than 16 kHz are allowed.

    Raises:
        InputError: the file cannot be read or is empty, has another rate although `resample` is
            False, or its samples are not finite or not audio.
    """
    with _opened(path) as file:
        if file.samplerate != SAMPLING_RATE and not resample:
            raise InputError(
                f"{path}: sampled at {file.samplerate} Hz instead of {SAMPLING_RATE}; convert it, "
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
    """Return the header of a file without decoding it.

    Raises:
        InputError: the file cannot be read.
    """
    with _opened(path) as file:
        return _header(file)


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """Round and clip samples of full scale 1 to 16 bits; 16-bit files stay exact.

    The scale is 2 ** 15 in both directions. libsndfile's own conversion writes with 2 ** 15 - 1,
    and does not scale float files when reading integers, which turns speech into silence.
    """
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def check_finite(samples: Samples, path: str | Path, rate: int, start: int = 0) -> None:
    """Check that no sample is NaN or infinite.

    Args:
        samples: [samples] or [samples, channels].
        path: of the file, for the error message.
        rate: its sampling rate.
        start: index of the first sample in the file.

    Raises:
        InputError: one is; the message has its time.
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
            if file.samplerate not in _RATES:
                raise InputError(
                    f"{path}: sampled at {file.samplerate} Hz, which is not from {_RATES[0]} to "
                    f"{_RATES[-1]}; repair or convert it"
                )
            yield file
    except InputError:
        raise
    # TypeError: the suffix is that of a format without header.
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error


def _decode(file: soundfile.SoundFile, path: str | Path, start: int, frames: int) -> Samples:
    """Return frames of an open file as mono at the file's own rate."""
    skipped = 0 if file.subtype.startswith(_EXACT_SEEK) else start
    if start and not skipped:
        file.seek(start)
    mono = _mono(file, skipped + frames)[skipped:]
    check_finite(mono, path, file.samplerate, start)
    peak = np.abs(mono).max(initial=0.0)
    if peak > _LOUDEST:
        raise InputError(
            f"{path}: float samples as large as {peak:.4g} where full scale is 1; they look like "
            "integers: divide them by their own full scale"
        )
    return mono


def _mono(file: soundfile.SoundFile, frames: int) -> Samples:
    """Return the next frames as mono; fewer if the file ends earlier."""
    block = max(1, _BLOCK // file.channels)
    parts = [np.zeros(0)]
    while frames > 0:
        part = file.read(min(frames, block), dtype="float64", always_2d=True)
        if not len(part):
            break
        parts.append(part.mean(axis=1))
        frames -= len(part)
    return np.concatenate(parts)


def _resampled(file: soundfile.SoundFile, path: str | Path, start: int, samples: int) -> Samples:
    """Return samples at 16 kHz of an open file with another rate.

    Only frames within reach of the filter are decoded. The first one coincides with an output
    sample, so that the filter has the same phases as over the whole file.
    """
    from scipy.signal import resample_poly  # takes as long to import as half of torch

    divisor = math.gcd(file.samplerate, SAMPLING_RATE)
    up, down = SAMPLING_RATE // divisor, file.samplerate // divisor
    reach = 10 * max(up, down) // up + 1  # scipy's filter has 10 * max(up, down) taps on each side
    first = max(0, start * down // up - reach) // down * down
    last = min(file.frames, (start + samples) * down // up + reach + 1)
    part = resample_poly(_decode(file, path, first, last - first), up, down)
    offset = start - first // down * up
    return np.asarray(part[offset : offset + samples])
