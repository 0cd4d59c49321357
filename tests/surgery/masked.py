"""The reference for shrinking: the whole encoder, with units masked to zero as it runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.methods import Selection


class MaskedLayerNorm(nn.LayerNorm):
    """LayerNorm whose statistics are those of the channels that are left; the others are zero."""

    def __init__(self, norm: nn.LayerNorm, kept: Tensor) -> None:
        super().__init__(norm.normalized_shape, eps=norm.eps)
        self.load_state_dict(norm.state_dict())
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        count = self.kept.sum()
        mean = (x * self.kept).sum(-1, keepdim=True) / count
        variance = ((x - mean).square() * self.kept).sum(-1, keepdim=True) / count
        normed = (x - mean) * torch.rsqrt(variance + self.eps)
        return (normed * self.weight + self.bias) * self.kept


def masked(encoder: SpeechEncoder, selection: Selection) -> SpeechEncoder:
    """Return a copy of `encoder` that masks what `selection` leaves out."""
    result = copy.deepcopy(encoder)
    for shape, layer, kept in zip(
        encoder.shape.layers, result.encoder.layers, selection.layers, strict=True
    ):
        qk, vo = [], []
        by_position = {head.position: head for head in kept.heads}
        start_qk = start_vo = 0
        for position, head in enumerate(shape.heads):
            if position in by_position:
                qk += [start_qk + unit for unit in by_position[position].qk]
                vo += [start_vo + unit for unit in by_position[position].vo]
            start_qk, start_vo = start_qk + head.qk, start_vo + head.vo
        mask_output(layer.attention.q_proj, mask(qk, shape.qk_size))
        mask_input(layer.attention.out_proj, mask(vo, shape.vo_size))
        mask_input(layer.feed_forward.output_dense, mask(kept.ffn, shape.ffn))
    convs = result.feature_extractor.conv_layers
    for number, (conv, kept) in enumerate(zip(encoder.shape.convs, selection.convs, strict=True)):
        own = mask(kept, conv.width)
        if encoder.shape.conv_norm == "layer":
            convs[number].layer_norm = MaskedLayerNorm(convs[number].layer_norm, own)
        elif number + 1 < len(convs):
            mask_input(convs[number + 1].conv, own[:, None])
    result.feature_projection.layer_norm = MaskedLayerNorm(
        result.feature_projection.layer_norm, own
    )
    return result


def mask(kept: Iterable[int], size: int) -> Tensor:
    result = torch.zeros(size)
    result[list(kept)] = 1
    return result


def mask_output(module: nn.Module, own: Tensor) -> None:
    module.register_forward_hook(lambda module, inputs, output: output * own)


def mask_input(module: nn.Module, own: Tensor) -> None:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * own,)

    module.register_forward_pre_hook(hook)
