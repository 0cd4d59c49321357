"""The dense equivalent of a pruned encoder, with zeros in the place of what was pruned.

It is exact, because no added zero reaches an output: a head with zero values and zero output
columns adds nothing, whatever it attends to; rows of zeros in q and k do not change their product
(the attention scale is that of the original head size in both); and an FFN unit with zero weights
outputs GELU(0) = 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .shape import LINEAR_PATHS, EncoderShape, LayerShape, dense_layer

_GATES = "attention.gru_rel_pos_const"


def can_be_filled(shape: EncoderShape) -> bool:
    """Say whether the heads of `shape` fit into a dense model of the same width."""
    return shape.original_heads * shape.head_size == shape.hidden and all(
        max(head.qk, head.vo) <= shape.head_size for layer in shape.layers for head in layer.heads
    )


def dense_ffn(shape: EncoderShape) -> int:
    """Return the FFN width of the dense form: that of the widest layer, and at least one unit."""
    return max([1, *(layer.ffn for layer in shape.layers)])


def dense_form(shape: EncoderShape) -> EncoderShape:
    """Return `shape` with all original heads and, in all layers, the widest layer's FFN width."""
    layer = dense_layer(shape.original_heads, shape.head_size, dense_ffn(shape))
    return shape.model_copy(update={"layers": (layer,) * len(shape.layers)})


def added_zeros(shape: EncoderShape) -> dict[str, int]:
    """Return how many heads, dimensions of heads and FFN units the dense form adds."""
    units = dense_ffn(shape)
    heads = [head for layer in shape.layers for head in layer.heads]
    added = {
        "attention heads": shape.original_heads * len(shape.layers) - len(heads),
        "dimensions of heads": sum(2 * shape.head_size - head.qk - head.vo for head in heads),
        "FFN units": sum(units - layer.ffn for layer in shape.layers),
    }
    return {name: count for name, count in added.items() if count}


def fill_with_zeros(shape: EncoderShape, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dictionary of the dense form of an encoder.

    Args:
        shape: of an encoder that `can_be_filled`.
        tensors: its state dictionary, with dense linears only.
    """
    filled, units = dict(tensors), dense_ffn(shape)
    for index, layer in enumerate(shape.layers):
        _fill_layer(filled, f"encoder.layers.{index}.", shape, layer, units)
    return filled


def _fill_layer(
    tensors: dict[str, Tensor], prefix: str, shape: EncoderShape, layer: LayerShape, units: int
) -> None:
    size = shape.head_size
    qk = [head.original * size + row for head in layer.heads for row in range(head.qk)]
    vo = [head.original * size + row for head in layer.heads for row in range(head.vo)]
    ffn = list(range(layer.ffn))
    # For each linear: the axis to pad (0: outputs, 1: inputs), the positions that are occupied, and
    # the size after padding.
    places = {
        "q": (0, qk, shape.hidden),
        "k": (0, qk, shape.hidden),
        "v": (0, vo, shape.hidden),
        "out": (1, vo, shape.hidden),
        "fc1": (0, ffn, units),
        "fc2": (1, ffn, units),
    }
    for linear, (axis, kept, total) in places.items():
        weight, bias = (f"{prefix}{LINEAR_PATHS[linear]}.{part}" for part in ("weight", "bias"))
        tensors[weight] = _spread(tensors[weight], axis, kept, total)
        if axis == 0:
            tensors[bias] = _spread(tensors[bias], 0, kept, total)
    if prefix + _GATES in tensors:
        originals = [head.original for head in layer.heads]
        tensors[prefix + _GATES] = _spread(
            tensors[prefix + _GATES], 1, originals, shape.original_heads
        )


def _spread(tensor: Tensor, axis: int, kept: list[int], total: int) -> Tensor:
    """Put the slices of `tensor` at the positions `kept` of an axis of size `total`, else zeros."""
    size = list(tensor.shape)
    size[axis] = total
    places = torch.tensor(kept, dtype=torch.long, device=tensor.device)
    return tensor.new_zeros(size).index_copy_(axis, places, tensor.detach())
