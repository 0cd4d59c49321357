"""Replacements, by soundfile and torch, for the parts of torchaudio and libsox that s3prl uses."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from ..audio.reading import check_finite
from ..common.errors import InputError

_FULL_SCALE = 2.0**31
"""libsox computes on 32-bit integers."""


@dataclass(frozen=True)
class AudioInformation:
    """The fields of torchaudio's `AudioMetaData` that do not depend on a decoder."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


def information(uri: str | os.PathLike[str], *_: Any, **__: Any) -> AudioInformation:
    """Return what `torchaudio.info` returned up to version 2.8."""
    found = soundfile.info(str(uri))
    digits = "".join(character for character in found.subtype if character.isdigit())
    return AudioInformation(
        sample_rate=found.samplerate,
        num_frames=found.frames,
        num_channels=found.channels,
        bits_per_sample=int(digits) if found.subtype.startswith("PCM") and digits else 0,
        encoding=found.subtype,
    )


def load(
    uri: Any,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
) -> tuple[Tensor, int]:
    """Read a file as `torchaudio.load` does: float32 [channels, samples] and the sampling rate.

    The last four arguments are taken and have no effect, as in torchaudio 2.9 and later.
    """
    source = str(uri) if isinstance(uri, str | os.PathLike) else uri
    wave, rate = soundfile.read(
        source, frames=num_frames, start=frame_offset, dtype="float32", always_2d=True
    )
    samples = torch.from_numpy(wave)
    return (samples.T.contiguous() if channels_first else samples), int(rate)


def save(
    uri: Any,
    src: Tensor,
    sample_rate: int,
    channels_first: bool = True,
    format: str | None = None,
    encoding: str | None = None,
    bits_per_sample: int | None = None,
    buffer_size: int = 4096,
    backend: str | None = None,
    compression: float | int | None = None,
) -> None:
    """Write a file as `torchaudio.save` does; `src` is [channels, samples] or [samples]."""
    target = str(uri) if isinstance(uri, str | os.PathLike) else uri
    wave = src.detach().cpu()
    if wave.dim() == 2 and channels_first:
        wave = wave.T
    subtype = f"PCM_{bits_per_sample}" if bits_per_sample else None
    soundfile.write(target, wave.numpy(), sample_rate, subtype=subtype, format=format)


def apply_effects_file(
    path: str | os.PathLike[str],
    effects: Sequence[Sequence[str]],
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
) -> tuple[Tensor, int]:
    """Read a file and apply libsox effects: float32 [channels, samples] and the sampling rate.

    See `apply_effects_tensor`. A file that cannot be read, or that holds NaN or infinite samples,
    is an `InputError`.
    """
    try:
        wave, rate = soundfile.read(str(path), dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise InputError(f"{path}: cannot read this audio file ({error}); replace it") from error
    check_finite(wave, Path(path), rate)
    try:
        samples, rate = _apply(torch.from_numpy(wave.T.copy()), int(rate), effects)
    except InputError as error:
        raise InputError(f"{Path(path)}: {error}") from error
    return (samples if channels_first else samples.T), rate


def apply_effects_tensor(
    tensor: Tensor,
    sample_rate: int,
    effects: Sequence[Sequence[str]],
    channels_first: bool = True,
) -> tuple[Tensor, int]:
    """Apply libsox effects to a waveform: float32 [channels, samples] and the sampling rate.

    Only those that s3prl's downstreams use are implemented: `channels 1` (mean), `rate R` where the
    rate is R already, and `gain DECIBEL`. Computed as libsox does, on 32-bit integers with
    rounding and clipping. Any other effect, and any resampling, is an `InputError`: libsox's
    filters are not reimplemented here, and a slightly different waveform is worse than none.
    """
    samples, rate = _apply(
        (tensor if channels_first else tensor.T).to(torch.float64), sample_rate, effects
    )
    return (samples if channels_first else samples.T), rate


def _apply(samples: Tensor, rate: int, effects: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    integers = _clip(samples * _FULL_SCALE)
    for name, *values in effects:
        if name == "channels" and values == ["1"]:
            integers = _clip(integers.mean(dim=0, keepdim=True))
        elif name == "rate" and len(values) == 1:
            if int(float(values[0])) != rate:
                raise InputError(
                    f"is sampled at {rate} Hz where {values[0]} is needed; convert it beforehand "
                    f"(sox IN OUT rate {values[0]})"
                )
        elif name == "gain" and len(values) == 1:
            integers = _clip(integers * math.pow(10.0, float(values[0]) / 20.0))
        else:
            raise InputError(
                f"the sox effect `{' '.join([name, *values])}` is not built here; install a "
                "torchaudio before 2.9 together with libsox"
            )
    return (integers / _FULL_SCALE).to(torch.float32), rate


def _clip(values: Tensor) -> Tensor:
    # Halves away from zero, as libsox rounds; torch.round would take the even neighbour.
    rounded = torch.where(values < 0, torch.ceil(values - 0.5), torch.floor(values + 0.5))
    return rounded.clamp(-_FULL_SCALE, _FULL_SCALE - 1)
