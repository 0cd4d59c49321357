"""Merging of Transformer layers: the parameters of removed layers are added to remaining ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...common.errors import InputError
from ...encoder.layers import POSITION_TABLE
from ...encoder.linear import Linear, dense_weight, optional_bias
from ...encoder.model import SpeechEncoder
from ...encoder.shape import LINEAR_PATHS, LINEARS
from ...surgery.rebuild import dense_linear, get_linear


def groups(kept: Sequence[int], present: int) -> dict[int, list[int]]:
    """Return the removed layers that are merged into each remaining layer.

    Each goes into the nearest remaining layer below it, or, below all of them, into the lowest.

    Args:
        kept: the remaining layers in ascending order, at least one.
        present: number of layers before.
    """
    merged: dict[int, list[int]] = {layer: [] for layer in kept}
    for layer in sorted(set(range(present)) - set(kept)):
        merged[max((own for own in kept if own < layer), default=kept[0])].append(layer)
    return {layer: others for layer, others in merged.items() if others}


def merged_layers(
    encoder: SpeechEncoder, kept: Sequence[int]
) -> tuple[dict[tuple[int, str], Linear], dict[str, Tensor]]:
    """Return the linears and other tensors of the layers that others are merged into.

    All parameters W of a layer l become W_l + sum_k (W_k - W_l) over the layers k merged into it:
    LaCo (Yang, Cao, Zhao, 2024, arXiv 2402.11187), equation 1. Linears become dense.

    Args:
        encoder: it is not changed.
        kept: the remaining layers in ascending order, at least one.

    Returns:
        The arguments `linears` and `tensors` of `rebuild`, with the numbers that layers will have.

    Raises:
        InputError: layers that would be merged differ in their sizes.
    """
    linears: dict[tuple[int, str], Linear] = {}
    tensors: dict[str, Tensor] = {}
    others = _other_tensors(encoder)
    for layer, merged in groups(kept, len(encoder.shape.layers)).items():
        _check_sizes(encoder, layer, merged)
        new = list(kept).index(layer)
        for name in LINEARS:
            own = [get_linear(encoder, number, name) for number in (layer, *merged)]
            biases = [bias for one in own if (bias := optional_bias(one)) is not None]
            linears[new, name] = dense_linear(
                _merge([dense_weight(one) for one in own]), _merge(biases) if biases else None
            )
        for name in others[layer]:
            parts = [others[number][name] for number in (layer, *merged)]
            tensors[f"encoder.layers.{new}.{name}"] = _merge(parts)
    return linears, tensors


def _merge(parts: Sequence[Tensor]) -> Tensor:
    """Return the first tensor plus the differences of all others from it."""
    first, *others = (part.detach() for part in parts)
    return first + torch.stack([other - first for other in others]).sum(0)


def _other_tensors(encoder: SpeechEncoder) -> list[Mapping[str, Tensor]]:
    """Return the tensors of each layer that belong to none of its linears, by name."""
    paths = tuple(f"{path}." for path in LINEAR_PATHS.values())
    return [
        {
            name: tensor
            for name, tensor in layer.state_dict().items()
            if not name.startswith(paths) and name != POSITION_TABLE
        }
        for layer in encoder.encoder.layers
    ]


def _check_sizes(encoder: SpeechEncoder, layer: int, merged: Sequence[int]) -> None:
    own = encoder.shape.layers[layer]
    for number in merged:
        other = encoder.shape.layers[number]
        if (own.heads, own.ffn) != (other.heads, other.ffn):
            raise InputError(
                f"method layers: layers {layer} and {number} cannot be merged, because they "
                "differ in their heads or FFN units; merge layers before other methods, or drop "
                "them (merge false)"
            )
