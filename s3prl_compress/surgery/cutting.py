"""Cutting: build the smaller encoder that a `Selection` describes, and count its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..encoder.cost import nonzero_parameters
from ..encoder.linear import (
    Linear,
    LowRankLinear,
    SharedLinear,
    SparseLinear,
    dense_weight,
    optional_bias,
    unpack_bits,
)
from ..encoder.model import SpeechEncoder
from ..encoder.shape import EncoderShape, HeadShape, LayerShape
from .layered import LayerEdit, LayeredModel
from .rebuild import dense_linear, get_linear, low_rank_linear, rebuild, shared_linear
from .selection import LayerSelection, Selection, check_selection


def select_units(encoder: SpeechEncoder, selection: Selection) -> SpeechEncoder:
    """Return a new encoder that has only the selected units.

    It computes what the given encoder computes with the other units masked to zero, if a
    LayerNorm over masked channels takes its statistics over the remaining ones. Linears keep
    their kind, with two exceptions that become dense: low-rank factors that no longer save
    parameters, and shared rows that are all different. WavLM's position table in layer 0 stays
    whole.

    Raises:
        InputError: the selection does not fit the encoder's shape.
    """
    check_selection(encoder.shape, selection)
    edit = cut_layers(encoder, selection.layers)
    tensors: dict[str, Tensor] = {}
    if encoder.shape.relative_position is not None:
        for number, kept in enumerate(selection.layers):
            name = f"encoder.layers.{number}.attention.gru_rel_pos_const"
            positions = [head.position for head in kept.heads]
            tensors[name] = encoder.get_parameter(name)[:, positions]
    convs = [
        conv.model_copy(update={"width": len(kept_channels)})
        for conv, kept_channels in zip(encoder.shape.convs, selection.convs, strict=True)
    ]
    tensors.update(_conv_tensors(encoder, selection.convs))
    return rebuild(encoder, edit.linears, layers=edit.layers, convs=convs, tensors=tensors)


def cut_layers(model: LayeredModel, selection: Sequence[LayerSelection]) -> LayerEdit:
    """Return the linears of all layers with only the selected units, and the layers' shapes.

    Args:
        model: the model with the linears; it is not changed.
        selection: the units to keep in each of its layers.
    """
    linears: dict[tuple[int, str], Linear] = {}
    layers: list[LayerShape] = []
    for number, (layer, kept) in enumerate(zip(model.shape.layers, selection, strict=True)):
        for name, (rows, columns) in _indices(layer, kept, model.device).items():
            if rows is not None or columns is not None:
                linear = get_linear(model, number, name)
                linears[number, name] = select_linear(linear, rows, columns)
        heads = tuple(
            HeadShape(
                original=layer.heads[head.position].original, qk=len(head.qk), vo=len(head.vo)
            )
            for head in kept.heads
        )
        layers.append(layer.model_copy(update={"heads": heads, "ffn": len(kept.ffn)}))
    return LayerEdit(linears, layers)


def parameters_after(encoder: SpeechEncoder, selection: Selection) -> int:
    """Return the number of parameters after `select_units`, without building the encoder."""
    total = nonzero_parameters(encoder) - parameters_cut(encoder, selection.layers)
    if encoder.shape.relative_position is not None:
        for layer, kept in zip(encoder.shape.layers, selection.layers, strict=True):
            total -= len(layer.heads) - len(kept.heads)
    new = [len(channels) for channels in selection.convs]
    old = [conv.width for conv in encoder.shape.convs]
    return total + int(conv_parameters(encoder.shape, new) - conv_parameters(encoder.shape, old))


def parameters_cut(model: LayeredModel, selection: Sequence[LayerSelection]) -> int:
    """Return how many parameters of its linears a model loses by `cut_layers`."""
    lost = 0
    for number, (layer, kept) in enumerate(zip(model.shape.layers, selection, strict=True)):
        for name, (rows, columns) in _indices(layer, kept, model.device).items():
            if rows is not None or columns is not None:
                linear = get_linear(model, number, name)
                lost += stored_weights(linear, None, None) - stored_weights(linear, rows, columns)
    return lost


def select_linear(linear: Linear, rows: Tensor | None, columns: Tensor | None) -> Linear:
    """Return the linear with only the given output rows and input columns; None keeps all."""
    if isinstance(linear, LowRankLinear):
        factor_out = _take(linear.factor_out, rows, 0)
        factor_in = _take(linear.factor_in, columns, 1)
        own_bias = _take_any(linear.bias, rows)
        if saves_parameters(factor_in.shape[0], factor_out.shape[0], factor_in.shape[1]):
            return low_rank_linear(factor_in, factor_out, own_bias)
        return dense_linear(factor_out @ factor_in, own_bias)
    if isinstance(linear, SharedLinear):
        used, assignment = torch.unique(_take(linear.assignment, rows, 0), return_inverse=True)
        centroids = _take(linear.centroids[used], columns, 1)
        bias = _take_any(linear.centroid_bias, used)
        if len(used) < len(assignment):
            return shared_linear(centroids, bias, assignment)
        return dense_linear(centroids[assignment], _take_any(bias, assignment))
    weight = _take(_take(dense_weight(linear), rows, 0), columns, 1)
    if isinstance(linear, SparseLinear):
        return SparseLinear.from_dense(weight, _take_any(linear.bias, rows))
    return dense_linear(weight, _take_any(optional_bias(linear), rows))


def stored_weights(linear: Linear, rows: Tensor | None, columns: Tensor | None) -> int:
    """Return the number of parameters, bias included, of the linear `select_linear` returns."""
    if isinstance(linear, LowRankLinear):
        outputs = len(linear.factor_out) if rows is None else len(rows)
        inputs = linear.factor_in.shape[1] if columns is None else len(columns)
        rank = len(linear.factor_in)
        biases = 0 if linear.bias is None else outputs
        if rows is None and columns is None:
            return rank * (outputs + inputs) + biases
        return min(rank * (outputs + inputs), outputs * inputs) + biases
    if isinstance(linear, SharedLinear):
        inputs = linear.centroids.shape[1] if columns is None else len(columns)
        size = inputs + (linear.centroid_bias is not None)
        if rows is None and columns is None:
            return len(linear.centroids) * size
        return len(torch.unique(_take(linear.assignment, rows, 0))) * size
    outputs = linear.out_features if rows is None else len(rows)
    inputs = linear.in_features if columns is None else len(columns)
    biases = 0 if linear.bias is None else outputs
    if isinstance(linear, SparseLinear):
        if rows is None and columns is None:
            return len(linear.values) + biases
        mask = unpack_bits(linear.bitmask, linear.in_features * linear.out_features)
        mask = mask.view(linear.out_features, linear.in_features)
        return int(_take(_take(mask, rows, 0), columns, 1).sum()) + biases
    return outputs * inputs + biases


def saves_parameters(rank: int, outputs: int, inputs: int) -> bool:
    """Return whether two factors of this rank have fewer parameters than the matrix."""
    return rank * (outputs + inputs) < outputs * inputs


Index = tuple["Tensor | None", "Tensor | None"]


def _indices(layer: LayerShape, kept: LayerSelection, device: torch.device) -> dict[str, Index]:
    """Return the rows and columns to keep in each of the six linears; None stands for all."""
    qk_starts = _starts([head.qk for head in layer.heads])
    vo_starts = _starts([head.vo for head in layer.heads])
    qk = _tensor([qk_starts[h.position] + d for h in kept.heads for d in h.qk], device)
    vo = _tensor([vo_starts[h.position] + d for h in kept.heads for d in h.vo], device)
    ffn = _tensor(list(kept.ffn), device)
    some_qk = None if len(qk) == layer.qk_size else qk
    some_vo = None if len(vo) == layer.vo_size else vo
    some_ffn = None if len(ffn) == layer.ffn else ffn
    return {
        "q": (some_qk, None),
        "k": (some_qk, None),
        "v": (some_vo, None),
        "out": (None, some_vo),
        "fc1": (some_ffn, None),
        "fc2": (None, some_ffn),
    }


def _conv_tensors(encoder: SpeechEncoder, kept: tuple[tuple[int, ...], ...]) -> dict[str, Tensor]:
    """Return the tensors of the front end with only the channels to keep."""
    if not kept:  # a family without convolutions over samples
        return {}
    state = encoder.state_dict()
    tensors: dict[str, Tensor] = {}
    inputs: Tensor | None = None
    for number, (conv, channels) in enumerate(zip(encoder.shape.convs, kept, strict=True)):
        outputs = None if len(channels) == conv.width else _tensor(channels, encoder.device)
        prefix = f"feature_extractor.conv_layers.{number}."
        for name in ("conv.weight", "conv.bias", "layer_norm.weight", "layer_norm.bias"):
            if prefix + name in state:
                tensors[prefix + name] = _take(state[prefix + name], outputs, 0)
        tensors[prefix + "conv.weight"] = _take(tensors[prefix + "conv.weight"], inputs, 1)
        inputs = outputs
    names = ["feature_projection.layer_norm.weight", "feature_projection.layer_norm.bias"]
    if encoder.shape.feature_scale:
        names.append("feature_extractor.scale")
    for name in names:
        tensors[name] = _take(state[name], inputs, 0)
    if encoder.shape.projection:
        name = "feature_projection.projection.weight"
        tensors[name] = _take(state[name], inputs, 1)
    return tensors


def conv_parameters(shape: EncoderShape, widths: Sequence[Any]) -> Any:
    """Return the number of front-end parameters that depend on the convolutions' widths.

    Widths may be tensors (expected numbers of channels); the result is then a tensor, too.
    """
    total: Any = 0
    inputs: Any = 1
    for number, (conv, width) in enumerate(zip(shape.convs, widths, strict=True)):
        normed = shape.conv_norm == "layer" or number == 0
        total += width * (inputs * conv.kernel + int(bool(shape.conv_bias)) + 2 * int(normed))
        inputs = width
    per_feature = 2 + int(shape.feature_scale) + (shape.hidden if shape.projection else 0)
    return total + inputs * per_feature


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]


def _tensor(numbers: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor(numbers, dtype=torch.long, device=device)


def _take_any(tensor: Tensor | None, index: Tensor | None) -> Tensor | None:
    return None if tensor is None else _take(tensor, index, 0)


def _take(tensor: Tensor, index: Tensor | None, dimension: int) -> Tensor:
    return tensor if index is None else tensor.index_select(dimension, index)
