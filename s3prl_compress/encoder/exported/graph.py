"""The encoder as one graph of tensors, for exporters: padded waveforms and lengths in, states out.

The forward pass is `SpeechEncoder`'s. What a traced graph cannot hold is replaced: Python lists of
waveforms and lengths, weights that are computed in every pass, and matrices without rows or
columns.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ...common.errors import InputError
from ..front_ends.convolutional import ConvolutionalFrontEnd, WeightNormedConv
from ..inference import dense_copy
from ..layers import Attention, HeadLayout, TransformerLayer
from ..linear import dense_bias
from ..model import SpeechEncoder
from ..shape import EncoderShape

INPUTS = ("waveforms", "lengths")
FRAMES = "frames"
LOG_PROBS = "log_probs"


def state_name(number: int) -> str:
    """Return the name of the output that holds a hidden state."""
    return f"state_{number}"


def output_names(shape: EncoderShape, *, last_only: bool, head: bool) -> tuple[str, ...]:
    """Return the names of a graph's outputs, in their order."""
    last = shape.states - 1
    states = [state_name(number) for number in range(last if last_only else 0, last + 1)]
    return (*states, FRAMES, *([LOG_PROBS] if head else []))


def fewest_samples(shape: EncoderShape) -> int:
    """Return the shortest batch that a graph takes, in samples: two frames.

    Tracing distinguishes sizes of one from all larger ones. Shorter batches are padded with zeros
    before the graph, which changes no result, since the lengths say what is padding.
    """
    return shape.minimum_samples + shape.frame_stride


class EncoderGraph(nn.Module):
    """An encoder with independent padding, as a function of tensors only.

    Args:
        encoder: a HuBERT, wav2vec2 or WavLM encoder, of which a copy is made.
        last_only: return the last hidden state and none of the others.
        channels_per_group: fewest channels of a group of the position convolution; smaller groups
            are merged, with zeros between their channels.

    Raises:
        InputError: the encoder is of another family.
    """

    def __init__(
        self, encoder: SpeechEncoder, *, last_only: bool = False, channels_per_group: int = 1
    ) -> None:
        super().__init__()
        if not isinstance(encoder.feature_extractor, ConvolutionalFrontEnd):
            raise InputError(
                f"export: the family {encoder.shape.family} has no graph of waveforms and lengths; "
                "only encoders with convolutions over samples have one"
            )
        self.last_only = last_only
        encoder = _plain_copy(encoder, channels_per_group)
        self.shape = encoder.shape
        self.normalize, self.normalize_eps = encoder.normalize, encoder.normalize_eps
        self.front_end = cast(ConvolutionalFrontEnd, encoder.feature_extractor)
        self.projection = encoder.feature_projection
        self.transformer = encoder.encoder
        self.head = encoder.head

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return output_names(self.shape, last_only=self.last_only, head=self.head is not None)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Encode a batch.

        Args:
            waveforms: samples at 16 kHz [batch, samples]; what follows an utterance has no effect.
            lengths: samples of each utterance [batch], at least 1; those that are too short for one
                frame get one nevertheless, which reads zeros.

        Returns:
            Hidden states [batch, frames, hidden], the first or only the last; the number of
            frames of each utterance, [batch]; and with a CTC head the logarithms of the symbols'
            probabilities, [batch, frames, symbols].
        """
        inside = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
        waveforms = torch.where(inside, waveforms, 0.0)
        if self.normalize:
            waveforms = self._normalized(waveforms, inside, lengths)
        counts = lengths.clamp(min=self.shape.minimum_samples)
        frames = []
        for conv in self.shape.convs:
            counts = torch.div(counts - conv.kernel, conv.stride, rounding_mode="trunc") + 1
            frames.append(counts)
        features = self.front_end.convolve(waveforms, frames[0], low_precision=True)
        valid = torch.arange(features.shape[1], device=features.device) < counts[:, None]
        states = self.transformer(self.projection(features), valid)
        outputs = [*(states[-1:] if self.last_only else states), counts]
        if self.head is not None:
            outputs.append(self.head(states[-1]).log_softmax(-1))
        return tuple(outputs)

    def _normalized(self, waveforms: Tensor, inside: Tensor, lengths: Tensor) -> Tensor:
        """Return waveforms of zero mean and unit variance over their own samples."""
        count = lengths[:, None].to(waveforms.dtype)
        centred = waveforms - waveforms.sum(1, keepdim=True) / count
        centred = torch.where(inside, centred, 0.0)
        variance = centred.square().sum(1, keepdim=True) / count
        return centred * torch.rsqrt(variance + self.normalize_eps)


class _Bias(nn.Module):
    """An attention or FFN of which nothing but the last bias remains."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor, *_: object) -> Tensor:
        """Return the bias [hidden], to be added to [batch, frames, hidden]."""
        return self.bias


class _PlainAttention(nn.Module):
    """An attention in single products, without the cases that a fused kernel has to provide for.

    A frame that may look nowhere gives NaN here; no utterance has fewer than one frame.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor, mask: Tensor, position_bias: Tensor | None) -> Tensor:
        """Attend as `Attention.forward` does."""
        own = self.attention
        query = own.qk_layout.split(own.q_proj(x)) * own.scale
        key = own.qk_layout.split(own.k_proj(x))
        scores = query @ key.transpose(2, 3)
        if position_bias is not None:
            frames = torch.arange(x.shape[1], device=x.device)
            distance = frames - frames[:, None] + x.shape[1] - 1
            originals = torch.tensor([head.original for head in own.heads], device=x.device)
            scores = scores + own._gate(x) * position_bias[originals][:, distance]
        weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
        value = own.vo_layout.split(own.v_proj(x))
        return own.out_proj(own.vo_layout.merge(weights @ value))


class _ZeroHeads(nn.Module):
    """Queries or keys of heads that have none: zeros, which make their attention uniform."""

    def __init__(self, layout: HeadLayout) -> None:
        super().__init__()
        self.heads, self.size = layout.heads, layout.size

    def split(self, x: Tensor) -> Tensor:
        """Return [batch, heads, frames, size] for hidden states [batch, frames, hidden]."""
        zeros = x[..., :1].unsqueeze(1) * 0.0
        return zeros.expand(x.shape[0], self.heads, x.shape[1], self.size)


def _plain_copy(encoder: SpeechEncoder, channels_per_group: int) -> SpeechEncoder:
    """Return a copy that computes the same with plain convolutions and no empty matrices."""
    dense = dense_copy(encoder)
    plain = copy.deepcopy(dense) if dense is encoder else dense
    plain.to("cpu", torch.float32).requires_grad_(False).eval()
    positions = plain.encoder.pos_conv_embed
    if positions is not None:
        conv = _baked(positions.conv)
        positions.conv = _with_larger_groups(conv, channels_per_group)  # type: ignore[assignment]
    layers = cast(Sequence[TransformerLayer], plain.encoder.layers)
    for number, (own, layer) in enumerate(zip(plain.shape.layers, layers, strict=True)):
        attention = layer.attention
        replacement = _plain_attention(attention)
        if number == 0 and attention.relative:  # whose table all layers use
            replacement.position_table = attention.rel_attn_embed.weight
        layer.attention = replacement  # type: ignore[assignment]
        if not own.ffn:
            bias = dense_bias(layer.feed_forward.output_dense)
            layer.feed_forward = _Bias(bias)  # type: ignore[assignment]
    return plain


def _plain_attention(attention: Attention) -> nn.Module:
    if attention.vo_layout.total == 0:
        return _Bias(dense_bias(attention.out_proj))
    if attention.qk_layout.total == 0:
        attention.q_proj = attention.k_proj = nn.Identity()  # type: ignore[assignment]
        attention.qk_layout = _ZeroHeads(attention.qk_layout)  # type: ignore[assignment]
    return _PlainAttention(attention)


def _baked(conv: WeightNormedConv) -> nn.Conv1d:
    """Return a plain convolution with the weight that the factors give."""
    weight = cast(nn.Module, conv.parametrizations.weight)()
    return _conv(weight, conv.bias, conv.groups, int(conv.padding[0]))


def _with_larger_groups(conv: nn.Conv1d, channels: int) -> nn.Conv1d:
    """Merge neighbouring groups until each has `channels` channels, or there is only one group."""
    factor = 1
    while conv.in_channels // conv.groups * factor < channels and conv.groups % (2 * factor) == 0:
        factor *= 2
    if factor == 1:
        return conv
    outputs, inputs, kernel = conv.weight.shape
    own = outputs // conv.groups
    merged = conv.weight.new_zeros(outputs, inputs * factor, kernel)
    for group in range(conv.groups):
        rows = slice(group * own, (group + 1) * own)
        start = group % factor * inputs
        merged[rows, start : start + inputs] = conv.weight[rows]
    return _conv(merged, conv.bias, conv.groups // factor, int(conv.padding[0]))


def _conv(weight: Tensor, bias: Tensor | None, groups: int, padding: int) -> nn.Conv1d:
    outputs, inputs, kernel = weight.shape
    with torch.device("meta"):
        conv = nn.Conv1d(inputs * groups, outputs, kernel, padding=padding, groups=groups)
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    conv.bias = bias
    return conv
