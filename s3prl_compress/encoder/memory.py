"""The memory of a forward pass, checked before the operating system kills the process."""

from __future__ import annotations

import psutil
import torch

from ..common.errors import InputError
from .layers import BIAS_ELEMENTS
from .shape import EncoderShape

CHECKED_SAMPLES = 60 * 16_000
"""Batches with fewer samples, padding included, are not checked, to save time."""


def forward_bytes(shape: EncoderShape, batch: int, samples: int, itemsize: int = 4) -> int:
    """Estimate the peak memory in bytes of a forward pass without gradients and without weights.

    Args:
        shape: shape of the encoder.
        batch: number of waveforms.
        samples: length of the longest waveform, to which the others are padded.
        itemsize: bytes per number.

    Returns:
        The larger of two peaks in bytes: of the front end (`FrontEnd.peak_elements`), and of the
        Transformer. The latter holds all hidden states and, in its widest layer, the FFN's units
        or all heads and about eight tensors of the hidden size. The factors are fitted to the CPU.
    """
    front_end = shape.front_end_elements(samples)
    frames = shape.frames_computed(samples)
    layer = 8 * shape.hidden + max(
        (
            max(part.ffn, 4 * max(part.qk_size, part.vo_size) - 2 * shape.hidden)
            for part in shape.layers
        ),
        default=0,
    )
    states = (len(shape.layers) + 1) * shape.hidden
    transformer = frames * (states + layer + shape.feature_width)
    bias = 0
    if shape.relative_position is not None and shape.layers:
        heads = max(len(part.heads) for part in shape.layers)
        rows = max(1, BIAS_ELEMENTS // max(1, batch * heads * frames))
        bias = 2 * batch * heads * min(rows, frames) * frames + 2 * batch * frames * shape.hidden
    return itemsize * max(batch * front_end, batch * transformer + bias)


def check_memory(
    shape: EncoderShape,
    batch: int,
    samples: int,
    device: torch.device,
    itemsize: int = 4,
    further_bytes: int = 0,
) -> None:
    """Check that a batch of `batch` waveforms padded to `samples` fits into memory.

    The estimate is for inference; with gradients a pass takes more. `further_bytes` are those that
    another runtime needs beyond it.

    Raises:
        InputError: it does not fit.
    """
    if batch * shape.samples_computed(samples) < CHECKED_SAMPLES:
        return
    available = available_bytes(device)
    needed = forward_bytes(shape, batch, samples, itemsize) + further_bytes
    if available is not None and needed > available:
        raise InputError(
            f"{batch} x {samples / 16_000:.0f} s of audio need about {needed / 2**30:.1f} GiB on "
            f"{device.type}, but {available / 2**30:.1f} GiB are available: cut the recording into "
            "pieces, or make the batch smaller"
        )


def available_bytes(device: torch.device) -> int | None:
    """Return the bytes that new tensors can take on a device; None if that is unknown."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return None
