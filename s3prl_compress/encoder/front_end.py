"""From waveforms to the Transformer's input: convolutions, projection, positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .activation import gelu
from .cache import WeightCache
from .linear import DenseLinear
from .shape import EncoderShape


class ConvLayer(nn.Module):
    """One convolution with its norm and GELU."""

    def __init__(self, shape: EncoderShape, index: int) -> None:
        super().__init__()
        conv = shape.convs[index]
        inputs = shape.convs[index - 1].width if index else 1
        self.conv = nn.Conv1d(
            inputs, conv.width, conv.kernel, stride=conv.stride, bias=shape.conv_bias
        )
        if shape.conv_norm == "layer":
            self.layer_norm: nn.Module = nn.LayerNorm(conv.width)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(conv.width, conv.width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, channels, time] to [batch, width, frames]."""
        x = self.conv(x)
        if isinstance(getattr(self, "layer_norm", None), nn.LayerNorm):
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        return gelu(x)


class FeatureExtractor(nn.Module):
    """The convolutional front end: 320 samples a frame in all published models."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(
            ConvLayer(shape, index) for index in range(len(shape.convs))
        )
        self.group_norm = shape.conv_norm == "group"
        # Behind GELU and before a LayerNorm: it folds into neither.
        self.scale = (
            nn.Parameter(torch.ones(shape.convs[-1].width)) if shape.feature_scale else None
        )

    def forward(self, waveforms: Tensor, first_frames: Tensor | None) -> Tensor:
        """Map waveforms [batch, samples] to features [batch, frames, width].

        `first_frames` [batch]: how many frames of the first convolution are an utterance's own.
        GroupNorm's statistics are taken over those only; over all of them where it is None.
        """
        first, *others = self.conv_layers
        if self.group_norm:
            x = gelu(group_normed_conv(waveforms, first, first_frames))
        else:
            x = first(waveforms.unsqueeze(1))
        for layer in others:
            x = layer(x)
        x = x.transpose(1, 2)
        return x if self.scale is None else x * self.scale


def group_normed_conv(waveforms: Tensor, layer: nn.Module, frames: Tensor | None) -> Tensor:
    """Convolve [batch, samples] and normalise each channel over time, in one matrix product.

    With one input channel and a kernel of k samples, a channel's output is `w . window`, so its
    mean and variance over time are `w . m` and `w S w`, with m [k] and S [k, k] the mean and
    covariance of the windows. The norm therefore folds into the weights before the product,
    and the widest tensor of the whole model is written once instead of being read for its
    statistics. Done in float64 (which autocast leaves alone): where `w` cancels most of the
    signal, float32 would not do.

    A bias of the convolution cancels in the norm. Result: [batch, width, frames].
    """
    conv, norm = layer.conv, layer.layer_norm
    assert isinstance(conv, nn.Conv1d)
    assert isinstance(norm, nn.GroupNorm)
    windows = waveforms.unfold(1, conv.kernel_size[0], conv.stride[0])  # [batch, frames, kernel]
    exact = windows.double()
    if frames is None:
        count = torch.full((len(windows),), windows.shape[1], device=windows.device)
    else:
        count = frames
        position = torch.arange(windows.shape[1], device=windows.device)
        exact = exact * (position < frames[:, None]).unsqueeze(-1)
    count = count.double().view(-1, 1, 1)
    mean = exact.sum(dim=1, keepdim=True) / count  # [batch, 1, kernel]
    covariance = exact.transpose(1, 2) @ exact / count - mean.transpose(1, 2) @ mean
    weight = conv.weight.squeeze(1).double()  # [width, kernel]
    variance = ((weight @ covariance) * weight).sum(-1).clamp(min=0)  # [batch, width]
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - scale * (mean @ weight.t()).squeeze(1)
    scaled_weight = (scale.unsqueeze(-1) * weight).to(windows.dtype)
    shift = shift.to(windows.dtype)
    return torch.baddbmm(shift.unsqueeze(-1), scaled_weight, windows.transpose(1, 2))


class FeatureProjection(nn.Module):
    """LayerNorm over the features, then a linear to the width of the residual stream."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(shape.convs[-1].width, eps=shape.layer_norm_eps)
        self.projection = (
            DenseLinear(shape.convs[-1].width, shape.hidden) if shape.projection else None
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map [batch, frames, conv width] to [batch, frames, hidden]."""
        x = self.layer_norm(features)
        return x if self.projection is None else self.projection(x)


class PositionConv(nn.Module):
    """A grouped, weight-normed convolution over time: what stands in for position embeddings."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        assert shape.position_conv is not None
        kernel = shape.position_conv.kernel
        conv = nn.Conv1d(
            shape.hidden,
            shape.hidden,
            kernel,
            padding=kernel // 2,
            groups=shape.position_conv.groups,
        )
        self.conv = weight_norm(conv, dim=2)
        self.surplus = 1 - kernel % 2  # an even kernel gives one frame too many
        self._cache = WeightCache()

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, frames, hidden] to the same; to be added to it."""
        factors = self.conv.parametrizations.weight
        weight = self._cache.get(lambda: self.conv.weight, factors.original0, factors.original1)
        y = F.conv1d(
            x.transpose(1, 2),
            weight,
            self.conv.bias,
            padding=self.conv.padding,
            groups=self.conv.groups,
        )
        return gelu(y[..., : y.shape[-1] - self.surplus]).transpose(1, 2)
