"""HuBERT, wav2vec2 and WavLM: convolutions over samples, a projection, and positions.

The three families share this front end. They differ in the number of frames that fairseq counts in
a padded batch, and in the shapes that they allow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..activation import gelu
from ..cpu_training import spectral_conv
from .base import FrontEnd, Padding, register_front_end

if TYPE_CHECKING:
    from ..shape import EncoderShape


class ConvLayer(nn.Module):
    """One convolution, its norm if it has one, and GELU."""

    def __init__(self, shape: EncoderShape, index: int) -> None:
        super().__init__()
        conv = shape.convs[index]
        inputs = shape.convs[index - 1].width if index else 1
        self.conv = nn.Conv1d(
            inputs, conv.width, conv.kernel, stride=conv.stride, bias=bool(shape.conv_bias)
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


class ConvolutionalFrontEnd(FrontEnd):
    """A stack of convolutions: 320 samples per frame in all published models."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__(shape)
        self.shape = shape
        self.conv_layers = nn.ModuleList(
            ConvLayer(shape, index) for index in range(len(shape.convs))
        )
        self.group_norm = shape.conv_norm == "group"
        # It stands after GELU and before a LayerNorm, so it cannot be folded into either.
        self.scale = (
            nn.Parameter(torch.ones(shape.convs[-1].width)) if shape.feature_scale else None
        )

    @classmethod
    def check_shape(cls, shape: EncoderShape) -> None:
        """Check the convolutions, the projection and the positions of a shape."""
        given = {
            "convs": bool(shape.convs),
            "conv_norm": shape.conv_norm is not None,
            "conv_bias": shape.conv_bias is not None,
            "position_conv": shape.position_conv is not None,
        }
        missing = [name for name, is_given in given.items() if not is_given]
        if missing:
            raise ValueError(f"family {shape.family}: needs {', '.join(missing)}")
        if shape.learned_positions is not None:
            raise ValueError(f"family {shape.family}: has no learned_positions")
        if shape.relative_position is not None:
            raise ValueError(f"family {shape.family}: has no relative_position")
        if not shape.key_bias:
            raise ValueError(f"family {shape.family}: has biases in k")
        assert shape.position_conv is not None
        if shape.hidden % shape.position_conv.groups:
            raise ValueError("position_conv: groups must divide hidden")
        if not shape.projection and shape.convs[-1].width != shape.hidden:
            raise ValueError("without a projection the last conv must be as wide as hidden")

    @classmethod
    def frame_stride(cls, shape: EncoderShape) -> int:
        """Return the product of the strides."""
        stride = 1
        for conv in shape.convs:
            stride *= conv.stride
        return stride

    @classmethod
    def frames(cls, shape: EncoderShape, samples: int) -> int:
        """Return the length of the last convolution's output; nothing is padded."""
        for conv in shape.convs:
            samples = (samples - conv.kernel) // conv.stride + 1 if samples >= conv.kernel else 0
        return samples

    @classmethod
    def minimum_samples(cls, shape: EncoderShape) -> int:
        """Return the receptive field of one frame: 400 samples for all published models."""
        samples = 1
        for conv in reversed(shape.convs):
            samples = (samples - 1) * conv.stride + conv.kernel
        return samples

    @classmethod
    def feature_width(cls, shape: EncoderShape) -> int:
        """Return the width of the last convolution."""
        return shape.convs[-1].width

    @classmethod
    def peak_elements(cls, shape: EncoderShape, samples: int) -> int:
        """Return the largest sum of one convolution's output, input, and copies of the input.

        oneDNN copies the input into another order; a layer norm needs one contiguous copy more.
        """
        copies = 2 if shape.conv_norm == "group" else 3
        inputs, peak = samples, 0
        for conv in shape.convs:
            samples = (samples - conv.kernel) // conv.stride + 1
            outputs = conv.width * samples
            peak = max(peak, copies * inputs + outputs)
            inputs = outputs
        return peak

    @classmethod
    def build_projection(cls, shape: EncoderShape) -> nn.Module:
        """Return the LayerNorm and the linear between the convolutions and the Transformer."""
        return FeatureProjection(shape)

    def forward(
        self, waveforms: Sequence[Tensor], padding: Padding
    ) -> tuple[Tensor, Tensor | None, list[int]]:
        """Pad the waveforms to the longest one, and run the convolutions."""
        lengths = [len(waveform) for waveform in waveforms]
        shortest = self.minimum_samples(self.shape)
        if min(lengths) < shortest:
            waveforms = [_pad_to(waveform, shortest) for waveform in waveforms]
        batch = (
            pad_sequence(list(waveforms), batch_first=True)
            if len(waveforms) > 1
            else waveforms[0][None]
        )
        padded = len({len(waveform) for waveform in waveforms}) > 1
        first_frames = None
        if padded and padding == "independent":
            conv = self.shape.convs[0]
            first_frames = torch.tensor(
                [(len(waveform) - conv.kernel) // conv.stride + 1 for waveform in waveforms],
                device=batch.device,
            )
        features = self.convolve(batch, first_frames)
        if padding == "independent" or self.shape.padded_frames == "convolutions":
            counts = self._frame_counts(lengths)
        else:
            counts = self._fairseq_frame_counts(lengths, features.shape[1])
        valid = None
        if padded:
            frames = torch.arange(features.shape[1], device=batch.device)
            valid = frames < torch.tensor(counts, device=batch.device)[:, None]
        return features, valid, counts

    def convolve(
        self, waveforms: Tensor, first_frames: Tensor | None, *, low_precision: bool = False
    ) -> Tensor:
        """Map waveforms to features.

        Args:
            waveforms: [batch, samples].
            first_frames: number of frames of the first convolution that belong to each utterance,
                [batch]. GroupNorm takes its statistics over those only; None: over all.
            low_precision: see `group_normed_conv`.

        Returns:
            [batch, frames, width].
        """
        first, *others = self.conv_layers
        if self.group_norm:
            x = gelu(group_normed_conv(waveforms, first, first_frames, low_precision))
        else:
            x = first(waveforms.unsqueeze(1))
        for layer in others:
            x = layer(x)
        x = x.transpose(1, 2)
        return x if self.scale is None else x * self.scale

    def _frame_counts(self, lengths: list[int]) -> list[int]:
        return [max(self.frames(self.shape, length), 1) for length in lengths]

    def _fairseq_frame_counts(self, lengths: list[int], frames: int) -> list[int]:
        """Return how many of a batch's `frames` frames fairseq gives to each utterance.

        fairseq's HuBERT and WavLM cut the mask over samples into as many equal chunks as there
        are frames; a frame is padding if its whole chunk is (`forward_padding_mask`).
        """
        longest = max(*lengths, self.minimum_samples(self.shape))
        chunk = (longest - longest % frames) // frames
        return [min(-(-length // chunk), frames) for length in lengths]


@register_front_end("hubert")
class HubertFrontEnd(ConvolutionalFrontEnd):
    """HuBERT's front end."""


@register_front_end("wav2vec2")
class Wav2Vec2FrontEnd(ConvolutionalFrontEnd):
    """wav2vec 2.0's front end."""

    def _fairseq_frame_counts(self, lengths: list[int], frames: int) -> list[int]:
        # In fairseq this model alone computes the frames from the convolutions.
        return self._frame_counts(lengths)


@register_front_end("wavlm")
class WavLMFrontEnd(ConvolutionalFrontEnd):
    """WavLM's front end. Its Transformer adds relative positions to those of the convolution."""

    @classmethod
    def check_shape(cls, shape: EncoderShape) -> None:
        """Check a shape that must have relative positions."""
        if shape.relative_position is None:
            raise ValueError("family wavlm: needs relative_position")
        super().check_shape(shape.model_copy(update={"relative_position": None}))


def _pad_to(waveform: Tensor, samples: int) -> Tensor:
    """Append zeros to a waveform [length] that has fewer than `samples`."""
    return F.pad(waveform, (0, max(samples - len(waveform), 0)))


def group_normed_conv(
    waveforms: Tensor, layer: nn.Module, frames: Tensor | None, low_precision: bool = False
) -> Tensor:
    """Convolve and normalise each channel over time, in one matrix product.

    With one input channel and a kernel of k samples, a channel's output is `w . window`. So its
    mean and variance over time are `w . m` and `w S w`, where m [k] and S [k, k] are the mean and
    covariance of the windows. The norm can therefore be folded into the weights before the
    product, and the largest tensor of the whole model need not be read again for its statistics.
    They are computed in float64 (which autocast does not touch), because float32 is not precise
    enough where `w` cancels most of the signal. A bias of the convolution cancels in the norm.

    Args:
        waveforms: [batch, samples].
        layer: the first `ConvLayer`, with a GroupNorm of one group per channel.
        frames: number of frames that belong to each utterance, [batch]; None: all.
        low_precision: for runtimes that compute even this in bfloat16. Windows and weights go
            through a discrete cosine transform, whose coefficients are nearly uncorrelated in
            speech, so that little cancels in `w S w`. In exact arithmetic it changes nothing.

    Returns:
        [batch, width, frames].
    """
    conv, norm = layer.conv, layer.layer_norm
    assert isinstance(conv, nn.Conv1d)
    assert isinstance(norm, nn.GroupNorm)
    windows = waveforms.unfold(1, conv.kernel_size[0], conv.stride[0])  # [batch, frames, kernel]
    exact = windows.double()
    weight = conv.weight.squeeze(1).double()  # [width, kernel]
    filters = weight
    if low_precision:
        cosines = _cosine_transform(conv.kernel_size[0], windows.device)
        exact, filters = exact @ cosines, weight @ cosines
    if frames is None:
        count = torch.full((len(windows),), windows.shape[1], device=windows.device)
    else:
        count = frames
        position = torch.arange(windows.shape[1], device=windows.device)
        exact = exact * (position < frames[:, None]).unsqueeze(-1)
    count = count.double().view(-1, 1, 1)
    mean = exact.sum(dim=1, keepdim=True) / count  # [batch, 1, kernel]
    covariance = exact.transpose(1, 2) @ exact / count - mean.transpose(1, 2) @ mean
    variance = ((filters @ covariance) * filters).sum(-1).clamp(min=0)  # [batch, width]
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - scale * (mean @ filters.t()).squeeze(1)
    scaled_weight = (scale.unsqueeze(-1) * weight).to(windows.dtype)
    shift = shift.to(windows.dtype)
    return torch.baddbmm(shift.unsqueeze(-1), scaled_weight, windows.transpose(1, 2))


def _cosine_transform(size: int, device: torch.device) -> Tensor:
    """Return the orthonormal DCT-II [samples, coefficients], in float64."""
    number = torch.arange(size, dtype=torch.float64, device=device)
    basis = torch.cos(math.pi / size * (number[:, None] + 0.5) * number)
    return basis * torch.where(number == 0, math.sqrt(1 / size), math.sqrt(2 / size))


class FeatureProjection(nn.Module):
    """LayerNorm over the features, and a linear to the width of the residual stream."""

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
    """Norms g [1, 1, kernel] (`original0`) and directions v (`original1`) of a conv weight.

    These are the factors of torch's `weight_norm(dim=2)`.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        if weight.is_meta:  # its norm imports torch's compiler, which takes more than a second
            norms = weight.new_empty(1, 1, weight.shape[2])
        else:
            norms = torch.norm_except_dim(weight, 2, 2)
        self.original0 = nn.Parameter(norms)
        self.original1 = nn.Parameter(weight.clone())

    def forward(self) -> Tensor:
        """Return the weight `g v / |v|`."""
        return torch._weight_norm(self.original1, self.original0, 2)


class WeightNormedConv(nn.Conv1d):
    """A convolution whose weight is `g v / |v|`, with one norm per kernel position.

    Its parameters are the two factors instead of `weight`, with the names that torch's
    parametrisation (and so Hugging Face) gives them. It is not parametrised itself, because a
    parametrised module cannot be pickled.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int, **options: int) -> None:
        super().__init__(channels_in, channels_out, kernel, **options)  # type: ignore[arg-type]
        weight = self.weight
        del self.weight
        self.parametrizations = nn.Module()
        self.set_weight(weight)

    def set_weight(self, weight: Tensor) -> None:
        """Set the factors to those of `weight` [out, in / groups, kernel]."""
        self.parametrizations.weight = WeightFactors(weight.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, in, time] to [batch, out, time]."""
        weight = cast(WeightFactors, self.parametrizations.weight)()
        if self.training and torch.is_grad_enabled() and x.device.type == "cpu":
            padding = cast(int, self.padding[0])
            return spectral_conv(x, weight, self.bias, padding)
        return self._conv_forward(x, weight, self.bias)


class PositionConv(nn.Module):
    """A grouped, weight-normed convolution over time, in the place of position embeddings."""

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
        self.surplus = 1 - kernel % 2  # an even kernel makes one frame too many

    def forward(self, x: Tensor) -> Tensor:
        """Return the positions [batch, frames, hidden] to be added to `x`."""
        y = self.conv(x.transpose(1, 2))
        return gelu(y[..., : y.shape[-1] - self.surplus]).transpose(1, 2)
