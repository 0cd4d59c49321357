"""How much memory a forward pass takes, said before the operating system kills the process."""

from __future__ import annotations

import psutil
import torch

from ..errors import InputError
from .layers import BIAS_ELEMENTS
from .shape import ConvShape, EncoderShape

CHECKED_SAMPLES = 60 * 16_000
"""Padded samples of a batch from which on memory is looked at: ordinary batches cost nothing."""


def forward_bytes(shape: EncoderShape, batch: int, samples: int, itemsize: int = 4) -> int:
    """Estimate the peak of a forward pass without gradients, weights not counted.

    Args:
        shape: of the encoder.
        batch: number of waveforms.
        samples: of the longest one; the others are padded to it.
        itemsize: bytes per number.

    Returns:
        The larger peak of the convolutions, where the input and output of one are held at once
        (with a layer norm, its result too), and of the Transformer, where all hidden states and
        the tensors of one layer are.
    """
    inputs, convolutions = samples, 0
    copies = 1 if shape.conv_norm == "group" else 2
    for index, conv in enumerate(shape.convs):
        outputs = conv.width * _frames(conv, samples)
        held = inputs + outputs * copies
        if index == 0 and shape.conv_norm == "group":
            held += 3 * conv.kernel * _frames(conv, samples)  # windows, once in float64
        convolutions = max(convolutions, held)
        inputs, samples = outputs, _frames(conv, samples)
    frames = samples
    layer = max(
        max(4 * max(part.qk_size, part.vo_size) + 2 * shape.hidden, part.ffn + 2 * shape.hidden)
        for part in shape.layers
    )
    states = (len(shape.layers) + 1) * shape.hidden
    transformer = frames * (states + layer + shape.convs[-1].width)
    bias = 0
    if shape.relative_position is not None:
        heads = max(len(part.heads) for part in shape.layers)
        bias = min(batch * heads * frames * frames, max(BIAS_ELEMENTS, batch * heads * frames))
    return itemsize * (max(batch * convolutions, batch * transformer + bias))


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
            f"{batch} x {samples / 16_000:.0f} s of audio need about {needed / 2**30:.1f} GiB of "
            f"memory on {device.type}, {available / 2**30:.1f} GiB are available: cut the recording "
            "into pieces, or make the batch smaller"
        )


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that a new tensor could take there; None where that is not known."""
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return None


def _frames(conv: ConvShape, samples: int) -> int:
    return (samples - conv.kernel) // conv.stride + 1
