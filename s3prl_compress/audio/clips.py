"""Audio files of a corpus: the one way in which both engines read them.

s3prl's datasets read files as they are, so those of a corpus must have 16 kHz already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..common.errors import InputError
from ..common.faults import Faults
from .reading import SAMPLING_RATE, read_audio, read_header

__all__ = ["GAIN", "SAMPLING_RATE", "check_audio", "read_samples", "read_wave"]

GAIN = 10 ** (-3 / 20)
"""s3prl's sox effect `gain -3.0`, in decibels."""


def read_samples(path: Path | str) -> torch.Tensor:
    """Read one utterance: [samples], float32, 16 kHz; channels are averaged.

    Raises:
        InputError: the file cannot be used, or has another sampling rate; see `read_audio`.
    """
    return torch.from_numpy(read_audio(path, resample=False).astype(np.float32))


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
        header = read_header(path)
    except InputError:
        empty = path.is_file() and path.stat().st_size == 0
        faults.add("empty file" if empty else "unreadable file", name)
        return
    if header.frames == 0:
        faults.add("empty file", name)
    elif rate is not None and header.rate != rate:
        faults.add(f"sampling rate other than {rate} Hz", f"{name} has {header.rate}")
    elif header.frames * SAMPLING_RATE < shortest * header.rate:
        seconds = header.frames / header.rate
        faults.add("background file shorter than 1 s", f"{name} has {seconds:.2f} s")
