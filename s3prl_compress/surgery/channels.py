"""Groups of interchangeable channels: FFN units, heads and their dimensions, convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..encoder.linear import dense_weight
from ..encoder.model import SpeechEncoder
from ..encoder.shape import EncoderShape, LayerShape
from .layered import LayeredModel
from .rebuild import get_linear
from .selection import HeadSelection, LayerSelection, Selection

UnitKind = Literal["ffn", "qk", "vo", "head", "conv"]

PAIRS = {"ffn": ("fc1", "fc2"), "qk": ("q", "k"), "vo": ("v", "out")}
"""The two linears that share the channels of each kind; heads and convolutions have none."""


@dataclass(frozen=True)
class ChannelGroup:
    """Interchangeable channels: those of one FFN, head or convolution, or the heads of a layer."""

    kind: UnitKind
    layer: int
    """Number of the Transformer layer, or of the convolution."""
    head: int | None
    """Place among the layer's heads; None unless the kind is qk or vo."""
    start: int
    """Row of its first channel in the matrix that holds them."""
    size: int


def groups_of(shape: EncoderShape, kinds: Sequence[UnitKind]) -> list[ChannelGroup]:
    """Return all groups of the given kinds that have at least two channels."""
    groups = layer_groups(shape.layers, kinds)
    if "conv" in kinds:
        # Without a projection the last convolution is as wide as the residual stream.
        convs = shape.convs if shape.projection else shape.convs[:-1]
        groups += [ChannelGroup("conv", n, None, 0, conv.width) for n, conv in enumerate(convs)]
    return [group for group in groups if group.size > 1]


def layer_groups(layers: Sequence[LayerShape], kinds: Sequence[UnitKind]) -> list[ChannelGroup]:
    """Return the groups inside Transformer layers that have at least two channels."""
    groups = []
    for number, layer in enumerate(layers):
        if "ffn" in kinds:
            groups.append(ChannelGroup("ffn", number, None, 0, layer.ffn))
        if "head" in kinds:
            groups.append(ChannelGroup("head", number, None, 0, len(layer.heads)))
        qk = vo = 0
        for position, head in enumerate(layer.heads):
            if "qk" in kinds:
                groups.append(ChannelGroup("qk", number, position, qk, head.qk))
            if "vo" in kinds:
                groups.append(ChannelGroup("vo", number, position, vo, head.vo))
            qk, vo = qk + head.qk, vo + head.vo
    return [group for group in groups if group.size > 1]


@dataclass(frozen=True)
class PruningSchedule:
    """The steps in which groups of equal size lose channels together."""

    positions: tuple[int, ...]
    """Positions of its groups in the list of all groups."""
    removed: NDArray[np.int64]
    """Number of channels removed from each group after 1, 2, ... steps."""

    def removed_after(self, steps: int) -> int:
        """Return how many channels have been removed from each group after `steps` steps."""
        return int(self.removed[steps - 1]) if steps else 0


def pruning_schedules(
    groups: Sequence[ChannelGroup], multiple: int, *, heads_together: bool
) -> list[PruningSchedule]:
    """Return the steps in which groups lose channels.

    Args:
        groups: all groups that may lose channels.
        multiple: sizes after a step are multiples of this number.
        heads_together: prune heads of equal size in a layer in the same steps, so that they stay
            equal. Fused attention pads all heads to the largest, so unequal heads save no time.
    """
    bundles: dict[tuple[object, ...], list[int]] = {}
    for position, group in enumerate(groups):
        head = None if heads_together else group.head
        bundles.setdefault((group.kind, group.layer, group.size, head), []).append(position)
    return [
        PruningSchedule(tuple(positions), removal_steps(groups[positions[0]].size, multiple))
        for positions in bundles.values()
    ]


def removal_steps(size: int, multiple: int, least: int = 1) -> NDArray[np.int64]:
    """Return how many of `size` units have been removed after 1, 2, ... steps.

    After each step the number of remaining units is a multiple of `multiple`; at least `least`
    units always remain.
    """
    remaining = range(size - 1, least - 1, -1)
    return np.array([size - count for count in remaining if count % multiple == 0], dtype=np.int64)


def selection_of(shape: EncoderShape, kept: Mapping[ChannelGroup, Sequence[int]]) -> Selection:
    """Return the selection that keeps the channels `kept` of some groups, and all others."""
    kept_convs = {group.layer: units for group, units in kept.items() if group.kind == "conv"}
    return Selection(
        layers=layer_selections(shape.layers, kept),
        convs=tuple(
            tuple(kept_convs.get(number, range(conv.width)))
            for number, conv in enumerate(shape.convs)
        ),
    )


def layer_selections(
    layers: Sequence[LayerShape], kept: Mapping[ChannelGroup, Sequence[int]]
) -> tuple[LayerSelection, ...]:
    """Return the selections that keep the channels `kept` of some groups, and all others."""
    kept_units = {(group.kind, group.layer, group.head): units for group, units in kept.items()}

    def units(kind: UnitKind, layer: int, head: int | None, size: int) -> tuple[int, ...]:
        return tuple(kept_units.get((kind, layer, head), range(size)))

    return tuple(
        LayerSelection(
            heads=tuple(
                HeadSelection(
                    position,
                    units("qk", number, position, head.qk),
                    units("vo", number, position, head.vo),
                )
                for position, head in enumerate(layer.heads)
                if position in units("head", number, None, len(layer.heads))
            ),
            ffn=units("ffn", number, None, layer.ffn),
        )
        for number, layer in enumerate(layers)
    )


def importance(model: LayeredModel, group: ChannelGroup) -> Tensor:
    """Return the magnitude of each channel of a group, [size].

    It is the norm of the channel's incoming weights times the norm of its outgoing ones; of a head,
    the norm of its rows of v times the norm of its columns of out. Where a
    norm layer directly follows a convolution, its scale replaces the norm of the convolution's
    weights, which the norm layer cancels.
    """
    if group.kind == "conv":
        assert isinstance(model, SpeechEncoder)  # no other model has such groups
        return _conv_importance(model, group.layer)
    if group.kind == "head":
        return _head_importance(model, group.layer)
    first, second = PAIRS[group.kind]
    rows = slice(group.start, group.start + group.size)
    going_in = dense_weight(get_linear(model, group.layer, first))[rows].norm(dim=1)
    other = dense_weight(get_linear(model, group.layer, second))
    return going_in * (
        other[rows].norm(dim=1) if group.kind == "qk" else other[:, rows].norm(dim=0)
    )


def _head_importance(model: LayeredModel, layer: int) -> Tensor:
    sizes = [head.vo for head in model.shape.layers[layer].heads]
    rows = dense_weight(get_linear(model, layer, "v")).split(sizes)
    columns = dense_weight(get_linear(model, layer, "out")).split(sizes, dim=1)
    return torch.stack(
        [one.norm() * other.norm() for one, other in zip(rows, columns, strict=True)]
    )


def _conv_importance(encoder: SpeechEncoder, number: int) -> Tensor:
    layers = encoder.feature_extractor.conv_layers
    layer = layers[number]
    norm = getattr(layer, "layer_norm", None)
    going_in = (
        layer.conv.weight.flatten(1).norm(dim=1)  # type: ignore[union-attr, operator]
        if norm is None
        else norm.weight.abs()
    )
    if number + 1 < len(layers):
        following = layers[number + 1].conv.weight.transpose(0, 1).flatten(1)  # type: ignore[union-attr, operator]
        return going_in * following.norm(dim=1)
    projection = encoder.feature_projection.projection
    scale = encoder.feature_projection.layer_norm.weight.abs()
    return going_in * scale * (1 if projection is None else projection.weight.norm(dim=0))


def weakest_first(values: Tensor) -> list[int]:
    """Return the positions of `values` [n] in ascending order of value; ties keep their order."""
    return torch.argsort(values.detach().double().cpu(), stable=True).tolist()
