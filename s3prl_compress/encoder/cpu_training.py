"""Faster forms of two operations whose backward passes are slow in torch on a CPU.

They compute the same functions, and are chosen in training only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCORES = 1 << 24
"""Largest number of attention scores that are stored for the backward pass of one layer."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, training: bool
) -> Tensor:
    """Return scaled dot-product attention, [batch, heads, frames, size] like the arguments.

    In bfloat16 on a CPU the backward pass of torch's fused attention takes longer than that of
    plain matrix products, which store the scores; so they are taken in training, up to `SCORES`.

    Args:
        query: [batch, heads, frames, size], as are `key` and `value`.
        key: to be compared with `query`.
        value: to be averaged.
        mask: True where a frame may be attended to, [batch, 1, 1, frames]; None: everywhere.
        scale: factor of the scores.
        training: whether gradients will be computed.
    """
    batch, heads, frames, _ = query.shape
    products = (
        training
        and torch.is_grad_enabled()
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and batch * heads * frames**2 <= SCORES
    )
    if not products:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    query, key, value = (x.flatten(0, 1) for x in (query, key, value))
    bias = query.new_zeros(batch, 1, 1, frames)
    if mask is not None:
        bias = bias.masked_fill(~mask, float("-inf"))
    bias = bias.expand(-1, heads, -1, -1).reshape(batch * heads, 1, frames)
    with torch.autocast("cpu", enabled=False):  # it would compute the softmax in float32
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale)
        attended = torch.bmm(scores.softmax(-1), value)
    return attended.unflatten(0, (batch, heads))


def spectral_conv(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Return a grouped convolution over time, computed in float32 by Fourier transforms.

    Its backward pass is several times faster than torch's where kernels are long and groups are
    many, as in the position convolution.

    Args:
        x: [batch, in, time].
        weight: [out, in / groups, kernel].
        bias: [out].
        padding: number of zeros at either end.

    Returns:
        [batch, out, time + 2 padding - kernel + 1], in float32.
    """
    outputs, width, kernel = weight.shape
    batch, channels, time = x.shape
    groups, padded = channels // width, time + 2 * padding
    length = -(-padded // 64) * 64  # any at least `padded`; those with small factors are fast
    with torch.autocast(x.device.type, enabled=False):
        signal = torch.fft.rfft(F.pad(x.float(), (padding, padding)), n=length)
        filters = torch.fft.rfft(weight.float(), n=length).conj()  # a correlation, not reversed
        signal = signal.view(batch, groups, width, -1).permute(3, 1, 0, 2)
        filters = filters.view(groups, outputs // groups, width, -1).permute(3, 0, 2, 1)
        product = (signal @ filters).permute(2, 1, 3, 0).reshape(batch, outputs, -1)
        y = torch.fft.irfft(product, n=length)[..., : padded - kernel + 1]
        return y if bias is None else y + bias[:, None]
