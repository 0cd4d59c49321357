"""The input for timing: noise with the leaderboard's lengths, in four buckets of eight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.errors import InputError

BUCKET_NAMES = ("short", "medium", "long", "longer")
"""The leaderboard's own names for its four groups of eight utterances."""

SAMPLING_RATE = 16_000
_NOISE_LEVEL = 0.1  # about the level of speech; the time does not depend on it


@dataclass(frozen=True)
class Bucket:
    """Utterances that are timed together: each time is that of one pass over all batches."""

    name: str
    batches: tuple[tuple[Tensor, ...], ...]
    """Batches of 1-D waveforms at 16 kHz."""

    @property
    def batch_size(self) -> int:
        """Number of utterances in the largest batch."""
        return max(len(batch) for batch in self.batches)

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio in one pass, without padding."""
        samples = sum(len(waveform) for batch in self.batches for waveform in batch)
        return samples / SAMPLING_RATE


def length_buckets(
    lengths: Sequence[int],
    *,
    utterances_per_bucket: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    seed: int = 0,
) -> tuple[Bucket, ...]:
    """Return four buckets at batch size 1.

    Args:
        lengths: in samples; sorted and divided into four equal parts.
        utterances_per_bucket: use only this many of each bucket, evenly spaced over its lengths.
        dtype: of the waveforms.
        device: of the waveforms.
        seed: of the noise, which is the same on every device.

    Raises:
        InputError: the lengths cannot be divided by four, or there are not that many per bucket.
    """
    size, rest = divmod(len(lengths), len(BUCKET_NAMES))
    if not size or rest:
        raise InputError(f"{len(lengths)} utterance lengths do not make four equal buckets")
    kept = size if utterances_per_bucket is None else utterances_per_bucket
    if not 1 <= kept <= size:
        raise InputError(f"utterances per bucket must be 1 to {size}, got {kept}")
    generator = torch.Generator().manual_seed(seed)
    ordered = sorted(lengths)
    buckets = []
    for number, name in enumerate(BUCKET_NAMES):
        members = ordered[number * size : (number + 1) * size]
        chosen = [members[int((i + 0.5) * size / kept)] for i in range(kept)]
        noise = [_noise(samples, generator).to(device, dtype) for samples in chosen]
        buckets.append(Bucket(name, tuple((waveform,) for waveform in noise)))
    return tuple(buckets)


def batched(buckets: Sequence[Bucket], batch_size: int) -> Bucket:
    """Return one bucket of all utterances, in batches of similar lengths.

    Raises:
        InputError: there are fewer utterances than `batch_size`, or it is below 2.
    """
    waveforms = [waveform for bucket in buckets for batch in bucket.batches for waveform in batch]
    if not 2 <= batch_size <= len(waveforms):
        raise InputError(f"batch size must be 1 to {len(waveforms)}, got {batch_size}")
    return Bucket(
        "batched",
        tuple(
            tuple(waveforms[start : start + batch_size])
            for start in range(0, len(waveforms), batch_size)
        ),
    )


def _noise(samples: int, generator: torch.Generator) -> Tensor:
    return torch.randn(samples, generator=generator) * _NOISE_LEVEL
