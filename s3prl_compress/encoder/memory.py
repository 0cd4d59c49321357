"""Memory of a forward pass, checked before the operating system would kill the process."""

from __future__ import annotations

import psutil
import torch

from ..common.errors import InputError
from .layers import BIAS_ELEMENTS
from .shape import EncoderShape

CHECKED_SAMPLES = 60 * 16_000
"""Batches of fewer padded samples are not checked, so that ordinary batches cost nothing."""


def forward_bytes(shape: EncoderShape, batch: int, samples: int, itemsize: int = 4) -> int:
    """Estimate the peak of a forward pass without gradients, weights not counted.

    Args:
        shape: of the encoder.
        batch: number of waveforms.
        samples: of the longest one; the others are padded to it.
        itemsize: bytes per number.

    Returns:
        The larger peak of the convolutions and of the Transformer. The factors are fitted to the
        CPU: a convolution holds its output, its input and oneDNN's reordered copy of that (with
        layer norms a contiguous copy too); the Transformer holds all hidden states and, in the
        widest layer, the FFN's units or all heads and about eight tensors of the hidden size.
    """
    inputs, convolutions = samples, 0
    copies = 2 if shape.conv_norm == "group" else 3
    for conv in shape.convs:
        frames = (samples - conv.kernel) // conv.stride + 1
        outputs = conv.width * frames
        convolutions = max(convolutions, copies * inputs + outputs)
        inputs, samples = outputs, frames
    frames = samples
    layer = 8 * shape.hidden + max(
        (
            max(part.ffn, 4 * max(part.qk_size, part.vo_size) - 2 * shape.hidden)
            for part in shape.layers
        ),
        default=0,
    )
    states = (len(shape.layers) + 1) * shape.hidden
    transformer = frames * (states + layer + shape.convs[-1].width)
    bias = 0
    if shape.relative_position is not None and shape.layers:
        heads = max(len(part.heads) for part in shape.layers)
        rows = max(1, BIAS_ELEMENTS // max(1, batch * heads * frames))
        bias = 2 * batch * heads * min(rows, frames) * frames + 2 * batch * frames * shape.hidden
    return itemsize * max(batch * convolutions, batch * transformer + bias)


def check_memory(
    shape: EncoderShape, batch: int, samples: int, device: torch.device, itemsize: int = 4
) -> None:
    """Check that a batch of `batch` waveforms padded to `samples` fits into memory.

    With gradients a pass takes more than is estimated here.

    Raises:
        InputError: it does not fit.
    """
    if batch * samples < CHECKED_SAMPLES:
        return
    available = available_bytes(device)
    needed = forward_bytes(shape, batch, samples, itemsize)
    if available is not None and needed > available:
        raise InputError(
            f"{batch} x {samples / 16_000:.0f} s of audio need about {needed / 2**30:.1f} GiB on "
            f"{device.type}, {available / 2**30:.1f} GiB are available: cut the recording into "
            "pieces, or make the batch smaller"
        )


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that a new tensor could take there; None where that is not known."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return None
