"""Folding: similar channels are merged into one, in both matrices that they belong to.

For a cluster of channels j with identical input weights, `sum_j c_j f(w_j x)` is
`(sum_j c_j) f(w x)`: rows are averaged, the next matrix's columns summed. In q and k it is a dot
product `sum_j (q_j x)(k_j y)` that is kept: q rows are averaged, k rows summed, which is the
cluster's size times their mean. Duplicates fold without any change of the output.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...encoder.linear import DenseLinear, Linear, LowRankLinear, dense_weight, optional_bias
from ...encoder.model import SpeechEncoder
from ...surgery.channels import PAIRS, ChannelGroup
from ...surgery.cutting import saves_parameters
from ...surgery.layered import LayerEdit, LayeredModel
from ...surgery.rebuild import dense_linear, get_linear, low_rank_linear, rebuild
from .kmeans import Labels, sizes, sums


def can_fold(model: LayeredModel, group: ChannelGroup) -> bool:
    """Return whether both linears of a group can be folded; sparse and shared ones cannot.

    Averaging would fill in the zeros of a sparse matrix, and would separate shared rows.
    """
    return all(
        isinstance(get_linear(model, group.layer, name), DenseLinear | LowRankLinear)
        for name in PAIRS[group.kind]
    )


def channel_rows(model: LayeredModel, group: ChannelGroup) -> Tensor:
    """Return the vectors by which the channels of a group are compared, [channels, d].

    [fc1_j ; b1_j] for FFN units, the same of v; q and k side by side, since they fold together.
    """
    first, second = PAIRS[group.kind]
    names = (first, second) if group.kind == "qk" else (first,)
    rows = slice(group.start, group.start + group.size)
    parts = []
    for name in names:
        linear = get_linear(model, group.layer, name)
        parts.append(dense_weight(linear)[rows])
        bias = optional_bias(linear)
        if bias is not None:
            parts.append(bias[rows, None])
    return torch.cat(parts, dim=1).detach()


def fold_units(encoder: SpeechEncoder, labels: Mapping[ChannelGroup, Labels]) -> SpeechEncoder:
    """Return a new encoder in which the channels of each cluster are merged.

    Args:
        encoder: the encoder; it is not changed.
        labels: the cluster of every channel of each group, numbered from 0 without gaps.
    """
    edit = fold_layers(encoder, labels)
    return rebuild(encoder, edit.linears, layers=edit.layers)


def fold_layers(model: LayeredModel, labels: Mapping[ChannelGroup, Labels]) -> LayerEdit:
    """Return the linears in which the channels of each cluster are merged, and the new shapes.

    Args:
        model: the model with the linears; it is not changed.
        labels: the cluster of every channel of each group, numbered from 0 without gaps.
    """
    linears: dict[tuple[int, str], Linear] = {}
    layers = list(model.shape.layers)
    by_place: dict[tuple[int, str], dict[int, tuple[ChannelGroup, Labels]]] = {}
    for group, own in labels.items():
        by_place.setdefault((group.layer, group.kind), {})[group.start] = (group, own)
    for (number, kind), by_start in by_place.items():
        whole = _whole(by_start, _rows(model, number, kind))
        first, second = (get_linear(model, number, name) for name in PAIRS[kind])
        linears[number, PAIRS[kind][0]] = fold_rows(first, whole, mean=True)
        linears[number, PAIRS[kind][1]] = (
            fold_rows(second, whole, mean=False) if kind == "qk" else fold_columns(second, whole)
        )
        changed = layers[number]
        if kind == "ffn":
            layers[number] = changed.model_copy(update={"ffn": int(whole.max()) + 1})
            continue
        heads = list(changed.heads)
        for group, own in by_start.values():
            assert group.head is not None
            size = int(own.max()) + 1
            heads[group.head] = heads[group.head].model_copy(update={kind: size})
        layers[number] = changed.model_copy(update={"heads": tuple(heads)})
    return LayerEdit(linears, layers)


def fold_rows(linear: Linear, labels: Labels, *, mean: bool) -> Linear:
    """Return the linear with one row per cluster: the mean of its members, or their sum."""
    old_bias = optional_bias(linear)
    scale = 1 / sizes(labels, dense_weight(linear).device) if mean else None

    def fold(rows: Tensor) -> Tensor:
        folded = sums(rows, labels)
        return (folded if scale is None else folded * scale[:, None]).to(rows.dtype)

    bias = None if old_bias is None else fold(old_bias[:, None])[:, 0]
    if isinstance(linear, LowRankLinear):
        return _factored_or_dense(linear.factor_in, fold(linear.factor_out), bias)
    return dense_linear(fold(dense_weight(linear)), bias)


def fold_columns(linear: Linear, labels: Labels) -> Linear:
    """Return the linear with one column per cluster, the sum of its members."""

    def fold(columns: Tensor) -> Tensor:
        return sums(columns.t(), labels).t().to(columns.dtype)

    if isinstance(linear, LowRankLinear):
        return _factored_or_dense(fold(linear.factor_in), linear.factor_out, linear.bias)
    return dense_linear(fold(dense_weight(linear)), optional_bias(linear))


def _factored_or_dense(factor_in: Tensor, factor_out: Tensor, bias: Tensor | None) -> Linear:
    """Return two factors as a low-rank linear, or their product where they save nothing."""
    if saves_parameters(len(factor_in), len(factor_out), factor_in.shape[1]):
        return low_rank_linear(factor_in, factor_out, bias)
    return dense_linear(factor_out @ factor_in, bias)


def _rows(model: LayeredModel, layer: int, kind: str) -> int:
    shape = model.shape.layers[layer]
    return {"ffn": shape.ffn, "qk": shape.qk_size, "vo": shape.vo_size}[kind]


def _whole(by_start: Mapping[int, tuple[ChannelGroup, Labels]], size: int) -> Labels:
    """Return the clusters of all rows of a matrix; rows of other groups are their own cluster."""
    whole = np.empty(size, dtype=np.int64)
    row = clusters = 0
    while row < size:
        if row in by_start:
            group, own = by_start[row]
            whole[row : row + group.size] = own + clusters
            clusters += int(own.max()) + 1
            row += group.size
        else:
            whole[row] = clusters
            clusters, row = clusters + 1, row + 1
    return whole
