"""Faster forms of two operations whose backward passes are slow in torch on a CPU.

They compute the same functions, and are chosen in training only.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

STORED_SCORES = 1 << 24
"""Largest number of attention scores that are stored for the backward pass of one layer."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float, training: bool
) -> Tensor:
    """Return scaled dot-product attention, [batch, heads, frames, size] like the arguments.

    In bfloat16 on a CPU the backward pass of torch's fused attention takes longer than that of
    plain matrix products, which store the scores; so they are taken in training, up to
    `STORED_SCORES`.

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
        and batch * heads * frames**2 <= STORED_SCORES
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
    with torch.autocast(x.device.type, enabled=False):
        y = _SpectralConv.apply(x.float(), weight.float(), padding)
        return y if bias is None else y + bias[:, None]


class _SpectralConv(torch.autograd.Function):
    """The convolution without its bias.

    All gradients are correlations, too. torch's own backward pass of `rfft` would fill up the
    spectra and transform complex numbers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int) -> Tensor:
        _, width, kernel = weight.shape
        padded = x.shape[-1] + 2 * padding
        # Any length from `padded` up will do; those with small factors are fast.
        ctx.length, ctx.padding, ctx.kernel = -(-padded // 64) * 64, padding, kernel
        ctx.time, ctx.groups = x.shape[-1], x.shape[1] // width
        signal = _spectra(F.pad(x, (padding, padding)), ctx.length, ctx.groups)
        filters = torch.fft.rfft(weight, n=ctx.length).conj()  # a correlation, not reversed
        filters = filters.unflatten(0, (ctx.groups, -1)).permute(3, 0, 2, 1)
        ctx.save_for_backward(signal, filters)
        return _waveform(signal @ filters, ctx.length)[..., : padded - kernel + 1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        signal, filters = ctx.saved_tensors
        gradient = _spectra(gradients[0], ctx.length, ctx.groups)
        x = weight = None
        if ctx.needs_input_grad[0]:
            padded = _waveform(gradient @ filters.mH, ctx.length)
            x = padded[..., ctx.padding : ctx.padding + ctx.time]
        if ctx.needs_input_grad[1]:
            product = (gradient.mH @ signal).permute(1, 2, 3, 0)  # [groups, out, in, frequencies]
            weight = torch.fft.irfft(product, n=ctx.length)[..., : ctx.kernel].flatten(0, 1)
        return x, weight, None


def _spectra(x: Tensor, length: int, groups: int) -> Tensor:
    """Transform [batch, channels, time] to [frequencies, groups, batch, channels / groups]."""
    return torch.fft.rfft(x, n=length).unflatten(1, (groups, -1)).permute(3, 1, 0, 2)


def _waveform(spectra: Tensor, length: int) -> Tensor:
    """Transform [frequencies, groups, batch, channels / groups] to [batch, channels, length]."""
    return torch.fft.irfft(spectra.permute(2, 1, 3, 0).flatten(1, 2), n=length)
