"""Speech for methods that look at activations: a few minutes from a folder of audio files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import resample_poly
from torch import Tensor

from ..errors import InputError

SUFFIXES = (".wav", ".flac", ".ogg", ".opus")


def waveforms(
    folder: str | Path,
    *,
    seconds: float,
    sampling_rate: int,
    minimum_samples: int,
    seed: int,
    longest: float = 15.0,
) -> Iterator[Tensor]:
    """Yield 1-D waveforms from the audio files below `folder`, in a random but fixed order.

    Channels are averaged and other rates resampled; files are cut into pieces of `longest`
    seconds (attention's memory grows with their square); pieces of less than `minimum_samples`
    are passed over. Stops when `seconds` are reached or the files are used up.

    Raises:
        InputError: there is no such folder, no audio or not one usable piece in it, or a file
            that cannot be read.
    """
    folder = Path(folder)
    files = _files(folder)
    wanted = int(seconds * sampling_rate)
    piece = int(longest * sampling_rate)
    given = 0
    for position in np.random.default_rng(seed).permutation(len(files)):
        samples = read_audio(files[position], sampling_rate)
        for start in range(0, len(samples), piece):
            part = samples[start : start + min(piece, wanted - given)]
            if len(part) >= minimum_samples:
                yield part
                given += len(part)
            if wanted - given < minimum_samples:
                return
    if not given:
        raise InputError(f"{folder}: no file in it is as long as {minimum_samples} samples")


def named(folder: Path) -> str:
    """Return what a history keeps of a folder of audio: its name, and a sha256 of what is in it.

    Of the files' names and sizes; they are not read.

    Raises:
        InputError: there is no such folder, or no audio in it.
    """
    lines = (
        f"{path.relative_to(folder).as_posix()}\t{path.stat().st_size}\n" for path in _files(folder)
    )
    return f"{folder.name} (sha256 {hashlib.sha256(''.join(lines).encode()).hexdigest()})"


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with wav, flac or ogg files")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder}: no audio in it; it must hold wav, flac or ogg files")
    return files


def read_audio(path: Path, sampling_rate: int) -> Tensor:
    """Return the samples of a file, [samples], float32, at `sampling_rate`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error
    mono = samples.mean(axis=1)
    if rate != sampling_rate:
        common = gcd(rate, sampling_rate)
        mono = resample_poly(mono, sampling_rate // common, rate // common)
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32))
