"""Magnitude pruning: of single weights, or of whole channels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor
from tqdm import tqdm

from ..common.errors import InputError
from ..common.method_config import MethodConfig
from ..encoder.cost import nonzero_parameters
from ..encoder.linear import DenseLinear, Linear, SparseLinear, dense_weight, optional_bias
from ..encoder.model import SpeechEncoder
from ..encoder.shape import LINEARS
from ..surgery.budget import TOLERANCE, Counts, RemovalOrder, find_sparsity
from ..surgery.channels import (
    ChannelGroup,
    PruningSchedule,
    UnitKind,
    groups_of,
    importance,
    pruning_schedules,
    selection_of,
    weakest_first,
)
from ..surgery.cutting import parameters_after, select_units
from ..surgery.largest_weights import largest
from ..surgery.layered import LayeredModel
from ..surgery.rebuild import get_linear, rebuild
from ..surgery.selection import Selection
from ..surgery.setting_types import Multiple, Sparsity, UnitNames
from .registry import register

Kept = Mapping[ChannelGroup, Sequence[int]]
"""The channels of each group that stay, numbered inside the group in ascending order."""


class MagnitudeConfig(MethodConfig):
    """Settings of magnitude pruning."""

    sparsity: Sparsity = 0.1
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1."""
    granularity: Literal["weight", "channel"] = "channel"
    """Granularity of pruning. weight: single weights become zero, which makes the file smaller but
    not the model faster; channel: whole channels are removed, which makes the model smaller."""
    scope: Literal["layer", "global"] = "layer"
    """How the target is distributed. layer: the same fraction everywhere; global: one threshold
    for the whole encoder."""
    units: UnitNames = ("ffn", "qk", "vo")
    """Which channels can be removed, with granularity channel: ffn (FFN units), qk and vo
    (dimensions inside heads), head (whole attention heads), conv (output channels of
    convolutions)."""
    multiple: Multiple = 1
    """Sizes that change become multiples of this number, with granularity channel. Multiples of
    8 suit processors; the larger it is, the fewer targets can be met."""

    @model_validator(mode="after")
    def _units_need_channels(self) -> MagnitudeConfig:
        if self.granularity == "weight" and (
            self.units != ("ffn", "qk", "vo") or self.multiple > 1
        ):
            raise ValueError("units and multiple go with granularity 'channel' only")
        return self


@register("magnitude")
def magnitude(encoder: SpeechEncoder, config: MagnitudeConfig) -> SpeechEncoder:
    """Remove the weights, or the channels, of smallest magnitude.

    Granularity weight prunes the weights of the six linears of every layer where they are dense
    or sparse; low-rank and shared linears stay as they are. Scope layer removes the same fraction
    of every such linear (of its non-zero weights, if it is sparse already).

    Granularity channel prunes FFN units, (q, k) and (v, out) dimensions inside heads, and whole
    heads and convolution channels if asked for; each FFN, attention, head and convolution keeps at
    least one. A channel's magnitude is the norm of its row times the norm of the next matrix's
    column (for (q, k), of both rows; for a head, of its rows of v and columns of out). Scope layer
    removes the same fraction of every FFN, attention, head and convolution. Scope global compares
    magnitudes over the whole encoder, each divided by the mean of its kind, since different kinds
    have no common unit. It applies to linears of every kind.

    Reference:
        Han, Pool, Tran, Dally: Learning both weights and connections for efficient neural
        networks, NeurIPS 2015 (weight). Li, Kadav, Durdanovic, Samet, Graf: Pruning filters for
        efficient ConvNets, ICLR 2017 (channel).
    """
    if config.granularity == "weight":
        return _prune_weights(encoder, config)
    return select_units(encoder, choose_channels(encoder, config))


def choose_channels(encoder: SpeechEncoder, config: MagnitudeConfig) -> Selection:
    """Return the channels to keep."""
    groups = groups_of(encoder.shape, config.units)

    def after(kept: Kept) -> int:
        return parameters_after(encoder, selection_of(encoder.shape, kept))

    kept = largest_channels(encoder, groups, config, nonzero_parameters(encoder), after)
    return selection_of(encoder.shape, kept)


def largest_channels(
    model: LayeredModel,
    groups: Sequence[ChannelGroup],
    config: MagnitudeConfig,
    total: int,
    parameters_after: Callable[[Kept], int],
) -> Kept:
    """Return the channels of each group that stay when the target sparsity is met.

    Args:
        model: the model with the channels.
        groups: the channels that may be removed.
        config: settings of the method, with granularity channel.
        total: number of parameters of the model, over which the sparsity counts.
        parameters_after: returns that number when only the given channels stay.

    Raises:
        InputError: the target cannot be met.
    """
    values = [
        importance(model, group)
        for group in tqdm(groups, desc="magnitudes", file=sys.stderr, leave=False)
    ]
    schedules = pruning_schedules(groups, config.multiple, heads_together=config.scope == "layer")
    keys = _keys(schedules, groups, values, config)
    ranked = [weakest_first(own) for own in values]

    def select(counts: Counts) -> Kept:
        kept: dict[ChannelGroup, list[int]] = {}
        for schedule, steps in zip(schedules, counts.tolist(), strict=True):
            removed = schedule.removed_after(steps)
            for position in schedule.positions:
                kept[groups[position]] = sorted(ranked[position][removed:])
        return kept

    counts = find_sparsity(
        "magnitude",
        config.sparsity,
        total,
        RemovalOrder(keys),
        lambda counts: parameters_after(select(counts)),
    )
    return select(counts)


def _keys(
    schedules: list[PruningSchedule],
    groups: Sequence[ChannelGroup],
    values: list[Tensor],
    config: MagnitudeConfig,
) -> list[NDArray[np.float64]]:
    """Return the keys of each schedule's steps, in the order of which channels are removed.

    Scope layer: the fraction of the group's channels that has been removed. Scope global: the
    largest magnitude removed so far, relative to the mean of its kind.
    """
    if config.scope == "layer":
        return [schedule.removed / groups[schedule.positions[0]].size for schedule in schedules]
    of_kind: dict[UnitKind, list[Tensor]] = {}
    for group, own in zip(groups, values, strict=True):
        of_kind.setdefault(group.kind, []).append(own)
    mean = {kind: torch.cat(magnitudes).mean() for kind, magnitudes in of_kind.items()}
    keys = []
    for schedule in schedules:
        (position,) = schedule.positions
        ranked = (values[position] / mean[groups[position].kind]).double().sort().values
        keys.append(ranked.cpu().numpy()[schedule.removed - 1])
    return keys


def _prune_weights(encoder: SpeechEncoder, config: MagnitudeConfig) -> SpeechEncoder:
    """Return the encoder with its smallest weights set to zero."""
    prunable: dict[tuple[int, str], DenseLinear | SparseLinear] = {}
    for number in range(len(encoder.shape.layers)):
        for name in LINEARS:
            linear = get_linear(encoder, number, name)
            if isinstance(linear, DenseLinear | SparseLinear):
                prunable[number, name] = linear
    sizes = {place: nonzeros(linear) for place, linear in prunable.items()}
    present, total = sum(sizes.values()), nonzero_parameters(encoder)
    # Every result is sparse, so zeros that dense linears store now are saved at no cost.
    stored = total - sum(
        linear.weight.numel() - sizes[place]
        for place, linear in prunable.items()
        if isinstance(linear, DenseLinear)
    )
    kept = present - (stored - round(total * (1 - config.sparsity)))
    if kept < 0 and -kept > TOLERANCE * total:
        raise InputError(
            f"method magnitude: sparsity {config.sparsity:g} cannot be reached on this model, "
            f"where it can remove at most {1 - (stored - present) / total:.3f} of the parameters"
        )
    kept = min(max(kept, 0), present)
    weights = {place: dense_weight(linear) for place, linear in prunable.items()}
    if config.scope == "global":
        masks = largest(list(weights.values()), kept)
    else:
        counts = (round(sizes[place] * kept / max(present, 1)) for place in weights)
        masks = [
            largest([weight], count)[0]
            for weight, count in zip(weights.values(), counts, strict=True)
        ]
    linears: dict[tuple[int, str], Linear] = {
        place: SparseLinear.from_dense(weight * mask, optional_bias(prunable[place]))
        for (place, weight), mask in zip(weights.items(), masks, strict=True)
    }
    return rebuild(encoder, linears)


def nonzeros(linear: DenseLinear | SparseLinear) -> int:
    """Return the number of non-zero weights of a linear."""
    if isinstance(linear, SparseLinear):
        return int(torch.count_nonzero(linear.values))
    return int(torch.count_nonzero(linear.weight))
