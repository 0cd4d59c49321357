"""Audio files of a prepared corpus, as both engines read them.

s3prl's datasets do not resample, so the files of a corpus must already be sampled at 16 kHz.
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
"""Factor of s3prl's sox effect `gain -3.0` (decibels)."""


def read_samples(path: Path | str) -> torch.Tensor:
    """Read one utterance: [samples], float32, 16 kHz; channels are averaged.

    Raises:
        InputError: the file is not usable, or has another sampling rate; see `read_audio`.
    """
    return torch.from_numpy(read_audio(path, resample=False).astype(np.float32))


def read_wave(path: Path | str) -> torch.Tensor:
    """Read one utterance as s3prl's keyword spotting does: [samples], float32, 16 kHz.

    It replaces the sox chain `channels 1`, `rate 16000`, `gain -3.0` of s3prl's
    `downstream/speech_commands/dataset.py`: channels are averaged and attenuated by 3 dB.

    Raises:
        InputError: as for `read_samples`.
    """
    return read_samples(path) * GAIN


def check_audio(path: Path, name: str, faults: Faults, *, shortest: int, rate: int | None) -> None:
    """Check the header of one audio file, without decoding it.

    Args:
        path: of the file.
        name: its name in messages.
        faults: gets what is wrong.
        shortest: minimum length in samples at 16 kHz.
        rate: required sampling rate; None: any.
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
