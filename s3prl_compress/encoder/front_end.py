"""From waveforms to the Transformer's input: convolutions, projection, positions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .activation import gelu
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
            nn.Linear(shape.convs[-1].width, shape.hidden) if shape.projection else None
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map [batch, frames, conv width] to [batch, frames, hidden]."""
        x = self.layer_norm(features)
        return x if self.projection is None else self.projection(x)


class WeightFactors(nn.Module):
    """Norms g `original0` [1, 1, kernel] and directions v `original1` of a conv weight.

    Torch's `weight_norm(dim=2)` has the same factors.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.original0 = nn.Parameter(torch.norm_except_dim(weight, 2, 2))
        self.original1 = nn.Parameter(weight.clone())

    def forward(self) -> Tensor:
        """Return the weight `g v / |v|`."""
        return torch._weight_norm(self.original1, self.original0, 2)


class WeightNormedConv(nn.Conv1d):
    """A convolution whose weight is `g v / |v|`, with one norm per kernel position.

    It has no parameter `weight` but the two factors, under the names that torch's parametrisation
    of the weight norm gives them (so Hugging Face's); a parametrised module cannot be pickled.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, **options: int) -> None:
        super().__init__(channels_in, channels_out, kernel, **options)  # type: ignore[arg-type]
        weight = self.weight
        del self.weight
        self.parametrizations = nn.Module()
        self.set_weight(weight)

    def set_weight(self, weight: Tensor) -> None:
        """Replace the factors by those of `weight` [out, in / groups, kernel]."""
        self.parametrizations.weight = WeightFactors(weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, in, time] to [batch, out, time]."""
        factors = cast(WeightFactors, self.parametrizations.weight)
        return self._conv_forward(x, factors(), self.bias)


class PositionConv(nn.Module):
    """A grouped, weight-normed convolution over time: what stands in for position embeddings."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        assert shape.position_conv is not None
        kernel = shape.position_conv.kernel
        self.conv = WeightNormedConv(
            shape.hidden,
            shape.hidden,
            kernel,
            padding=kernel // 2,
            groups=shape.position_conv.groups,
        )
        self.surplus = 1 - kernel % 2  # an even kernel gives one frame too many

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, frames, hidden] to the same; to be added to it."""
        y = self.conv(x.transpose(1, 2))
        return gelu(y[..., : y.shape[-1] - self.surplus]).transpose(1, 2)
