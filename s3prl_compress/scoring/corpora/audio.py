"""Audio files of a corpus: the one way in which both engines read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from ...errors import InputError
from .faults import Faults

SAMPLING_RATE = 16_000

GAIN = 10 ** (-3 / 20)
"""s3prl's sox effect `gain -3.0`, in decibels."""


def read_samples(path: Path | str) -> torch.Tensor:
    """Read one utterance: [samples], float32, 16 kHz; channels are averaged.

    Raises:
        InputError: the file is unreadable or empty, or has another sampling rate.
    """
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: not a readable audio file ({error})") from error
    if rate != SAMPLING_RATE:
        raise InputError(f"{path}: sampled at {rate} Hz, not {SAMPLING_RATE}; use `prepare`")
    if len(samples) == 0:
        raise InputError(f"{path}: holds no samples; remove it")
    return torch.from_numpy(samples.mean(axis=1, dtype=np.float32))


def read_wave(path: Path | str) -> torch.Tensor:
    """Read one utterance as s3prl's keyword spotting hears it: [samples], float32, 16 kHz.

    Stands for the sox chain `channels 1`, `rate 16000`, `gain -3.0` of s3prl's
    `downstream/speech_commands/dataset.py`: channels are averaged, and 3 dB are taken off.
    """
    return read_samples(path) * GAIN


def check_audio(path: Path, name: str, faults: Faults, *, shortest: int, rate: int | None) -> None:
    """Note in `faults` what is wrong with one audio file's header.

    `shortest` counts samples at 16 kHz; `rate` None means that any sampling rate will do.
    """
    try:
        if path.stat().st_size == 0:
            faults.add("empty file", name)
            return
        info = soundfile.info(str(path))
    except (OSError, RuntimeError):
        faults.add("unreadable file", name)
        return
    if info.frames == 0:
        faults.add("empty file", name)
    elif rate is not None and info.samplerate != rate:
        faults.add(f"sampling rate other than {rate} Hz", f"{name} has {info.samplerate}")
    elif info.frames * SAMPLING_RATE < shortest * info.samplerate:
        seconds = info.frames / info.samplerate
        faults.add("background file shorter than 1 s", f"{name} has {seconds:.2f} s")
