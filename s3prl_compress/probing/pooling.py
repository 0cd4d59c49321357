"""Pooling: each utterance goes through the upstream once, and each layer's mean is kept.

Nothing non-linear stands between the hidden states and the mean over frames in SUPERB's utterance
heads (`s3prl/downstream/model.py`, `UtteranceLevel`: weighted sum, linear, mean, linear), so the
means are all that such a head ever needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..audio import read_header
from ..audio.clips import SAMPLING_RATE
from ..common.errors import InputError
from ..encoder.frames import superb_frame_counts, superb_frames
from ..encoder.inference import inference_copy
from ..results.records import Padding

if TYPE_CHECKING:
    from ..encoder import SpeechEncoder
    from ..encoder.adapter import UpstreamAdapter
    from ..encoder.packed import Linears


@dataclass(frozen=True)
class Clip:
    """A stretch of a file, in samples."""

    path: Path
    start: int
    samples: int

    def cut(self, wave: Tensor) -> Tensor:
        """Return the clip's part of its file's samples, [samples]."""
        return wave[self.start : self.start + self.samples]


def whole(path: Path) -> Clip:
    """Return a file as one clip; only its header is read."""
    return Clip(path, 0, read_header(path).frames)


def evenly_spaced(path: Path, crops: int, samples: int = SAMPLING_RATE) -> list[Clip]:
    """Return `crops` clips of `samples` samples, the first at the start, the last at the end.

    They stand for s3prl's crops at a uniformly random start. A file with fewer possible starts
    than `crops` gives each of them once.
    """
    last = read_header(path).frames - samples
    if last < 0:
        raise InputError(f"{path}: shorter than {samples} samples; no silence can be cut from it")
    starts = (
        np.unique(np.linspace(0, last, crops).round().astype(int)) if crops > 1 else [last // 2]
    )
    return [Clip(path, int(start), samples) for start in starts]


def pool(encoder: SpeechEncoder | UpstreamAdapter, waveforms: Sequence[Tensor]) -> Tensor:
    """Return the mean over frames of every hidden state: [batch, layers + 1, width], float32.

    The frames are those that s3prl's Featurizer takes: `round(samples / stride)` with independent
    padding, the last valid one repeated where the encoder makes one fewer. With fairseq's padding
    an utterance must come alone, and gives the frames that there are, as in s3prl at batch 1.
    """
    lengths = [len(waveform) for waveform in waveforms]
    states, frame_counts = encoder(list(waveforms))
    counts = torch.tensor(
        superb_frame_counts(lengths, encoder.shape.frame_stride), device=states[0].device
    )
    if encoder.padding == "independent":
        states = superb_frames(states, frame_counts, lengths, encoder.shape.frame_stride)
    else:
        if len(waveforms) > 1:
            raise ValueError(
                "fairseq's padding makes features depend on the batch: pool one by one"
            )
        counts = counts.clamp(max=states[0].shape[1])
    frames = torch.arange(states[0].shape[1], device=counts.device)
    share = (frames < counts.unsqueeze(1)).float() / counts.unsqueeze(1)
    means = [torch.bmm(share.unsqueeze(1), state.float()).squeeze(1) for state in states]
    return torch.stack(means, dim=1)


def pool_clips(
    encoder: SpeechEncoder | UpstreamAdapter,
    clips: Sequence[Clip],
    batches: Sequence[list[int]],
    write: Callable[[list[int], np.ndarray], None],
    *,
    read: Callable[[Path], Tensor],
    padding: Padding,
    device: str,
    linears: Linears | None = None,
) -> None:
    """Pool the clips of all batches and hand them to `write(rows, [batch, layers + 1, width])`.

    Args:
        encoder: the frozen upstream.
        clips: one per row.
        batches: rows that go through the encoder together; see `batches_by_length`. With fairseq's
            padding each clip goes alone.
        write: takes the means of a batch.
        read: returns the samples of a file.
        padding: of shorter clips in a batch.
        device: where the encoder computes.
        linears: see `inference_copy`.

    Raises:
        InputError: a recording cannot be read, or its hidden states are of no use.
    """
    read_once = lru_cache(maxsize=8)(read)  # many clips are cut from each background file
    total = sum(map(len, batches))
    bar = tqdm(total=total, desc="upstream", unit="utterance", delay=1, leave=False)
    encoder = inference_copy(encoder, device, linears)
    with ready(encoder, padding, device), bar, torch.no_grad():
        for rows in batches:
            waves = [clips[row].cut(read_once(clips[row].path)).to(device) for row in rows]
            means = pool(encoder, waves).cpu().numpy()
            good = np.isfinite(means).all(axis=(1, 2))
            if not good.all():
                path = clips[rows[int(np.argmin(good))]].path
                raise InputError(
                    f"{path}: the encoder's hidden states of it are not finite; "
                    "its weights are of no use"
                )
            write(rows, means)
            bar.update(len(rows))


def batches_by_length(lengths: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Yield rows in batches, longest first, whose padded size stays within `limit` samples.

    A clip longer than the limit comes alone. A lack of memory shows at once, at the longest ones.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > limit:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def batch_limit(seconds_per_batch: float, padding: Padding) -> int:
    """Return the samples of a batch; with fairseq's padding each utterance goes alone."""
    return int(seconds_per_batch * SAMPLING_RATE) if padding == "independent" else 0


def check_lengths(clips: Sequence[Clip], minimum: int) -> None:
    """Raise `InputError` for clips of fewer than `minimum` samples."""
    short = [clip for clip in clips if clip.samples < minimum]
    if short:
        raise InputError(
            f"{short[0].path}: {short[0].samples} samples, but this encoder needs {minimum}; "
            f"{len(short)} utterances are too short: remove them"
        )


@contextmanager
def ready(
    encoder: SpeechEncoder | UpstreamAdapter, padding: Padding, device: str
) -> Iterator[None]:
    """Move the encoder to the device and set its padding; restore both at the end."""
    before, home = encoder.padding, next(encoder.parameters()).device
    try:
        encoder.padding = padding
        encoder.to(device)
        yield
    finally:
        encoder.padding = before
        encoder.to(home)
