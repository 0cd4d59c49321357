"""Magnitude pruning: of single weights, or of whole channels."""

from __future__ import annotations

import sys
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
from ..encoder.linear import DenseLinear, Linear, SparseLinear, dense_bias, dense_weight
from ..encoder.model import SpeechEncoder
from ..encoder.shape import LINEARS
from ..surgery.budget import TOLERANCE, Counts, RemovalOrder, find_sparsity
from ..surgery.channels import (
    Group,
    PruningSchedule,
    groups_of,
    importance,
    queues_of,
    selection_of,
    weakest_first,
)
from ..surgery.cutting import parameters_after, select_units
from ..surgery.rebuild import get_linear, rebuild
from ..surgery.selection import Selection
from ..surgery.setting_types import Multiple, Sparsity, UnitNames
from ..surgery.threshold import largest
from .registry import register


class MagnitudeConfig(MethodConfig):
    """Settings of magnitude pruning."""

    sparsity: Sparsity = 0.1
    """Fraction of the parameters that the encoder stores which goes."""
    granularity: Literal["weight", "channel"] = "channel"
    """weight: single weights become zero, the file shrinks and no time is saved;
    channel: whole channels go, and the encoder is really smaller."""
    scope: Literal["layer", "global"] = "layer"
    """layer: the same fraction everywhere; global: one threshold for the whole encoder."""
    units: UnitNames = ("ffn", "qk", "vo")
    """Granularity channel: ffn (FFN units), qk and vo (dimensions inside heads), conv."""
    multiple: Multiple = 1
    """Granularity channel: sizes that change become multiples of this. 8 suits processors; fewer
    targets can be met exactly."""

    @model_validator(mode="after")
    def _units_need_channels(self) -> MagnitudeConfig:
        if self.granularity == "weight" and (
            self.units != ("ffn", "qk", "vo") or self.multiple > 1
        ):
            raise ValueError("units and multiple go with granularity 'channel' only")
        return self


@register("magnitude")
def magnitude(encoder: SpeechEncoder, config: MagnitudeConfig) -> SpeechEncoder:
    """Drop the weights, or the channels, of least magnitude.

    weight: prunable are the weights of the six linears of every layer, where they are dense or
    sparse; low-rank and shared linears are left alone. Scope layer takes the same fraction of
    every such linear (of its non-zeros, if it is sparse already).

    channel: prunable are FFN units, (q, k) and (v, out) dimensions inside the heads, and the
    convolutions' channels if asked for; each FFN, head and convolution keeps at least one. A
    channel's magnitude is the norm of its row times the norm of the next matrix's column (for
    (q, k) of both rows). Scope layer takes the same fraction of every FFN, head and
    convolution; global compares magnitudes over the whole encoder, each divided by the mean of
    its kind, since those of different kinds have no common unit. Linears of any kind shrink.

    Reference:
        Han, Pool, Tran, Dally: Learning both weights and connections for efficient neural
        networks, NeurIPS 2015 (weight). Li, Kadav, Durdanovic, Samet, Graf: Pruning filters for
        efficient ConvNets, ICLR 2017 (channel).
    """
    if config.granularity == "weight":
        return _prune_weights(encoder, config)
    return select_units(encoder, choose_channels(encoder, config))


def choose_channels(encoder: SpeechEncoder, config: MagnitudeConfig) -> Selection:
    """Return the channels that stay."""
    groups = groups_of(encoder.shape, config.units)
    values = [
        importance(encoder, group)
        for group in tqdm(groups, desc="magnitudes", file=sys.stderr, leave=False)
    ]
    queues = queues_of(groups, config.multiple, heads_together=config.scope == "layer")
    keys = _keys(queues, groups, values, config)
    ranked = [weakest_first(own) for own in values]

    def select(counts: Counts) -> Selection:
        kept = {
            groups[position]: sorted(ranked[position][queue.lost(steps) :])
            for queue, steps in zip(queues, counts.tolist(), strict=True)
            for position in queue.positions
        }
        return selection_of(encoder.shape, kept)

    counts = find_sparsity(
        "magnitude",
        config.sparsity,
        nonzero_parameters(encoder),
        RemovalOrder(keys),
        lambda counts: parameters_after(encoder, select(counts)),
    )
    return select(counts)


def _keys(
    queues: list[PruningSchedule],
    groups: list[Group],
    values: list[Tensor],
    config: MagnitudeConfig,
) -> list[NDArray[np.float64]]:
    """Return the key of each step of each queue: the largest of what is gone by then."""
    if config.scope == "layer":
        return [queue.gone / groups[queue.positions[0]].size for queue in queues]
    mean = {
        kind: torch.cat([v for g, v in zip(groups, values, strict=True) if g.kind == kind]).mean()
        for kind in {group.kind for group in groups}
    }
    keys = []
    for queue in queues:
        (position,) = queue.positions
        ranked = (values[position] / mean[groups[position].kind]).double().sort().values
        keys.append(ranked.cpu().numpy()[queue.gone - 1])
    return keys


def _prune_weights(encoder: SpeechEncoder, config: MagnitudeConfig) -> SpeechEncoder:
    """Return the encoder with its smallest weights at zero."""
    prunable = {
        (number, name): linear
        for number in range(len(encoder.shape.layers))
        for name in LINEARS
        if isinstance(linear := get_linear(encoder, number, name), DenseLinear | SparseLinear)
    }
    sizes = {place: nonzeros(linear) for place, linear in prunable.items()}
    present, total = sum(sizes.values()), nonzero_parameters(encoder)
    # Zeros that a dense linear stores already are dropped for nothing.
    stored = total - sum(
        linear.weight.numel() - sizes[place]
        for place, linear in prunable.items()
        if isinstance(linear, DenseLinear)
    )
    kept = present - (stored - round(total * (1 - config.sparsity)))
    if kept < 0 and -kept > TOLERANCE * total:
        raise InputError(
            f"method magnitude: sparsity {config.sparsity:g} cannot be reached on this encoder, "
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
        place: SparseLinear.from_dense(weight * mask, dense_bias(prunable[place]))
        for (place, weight), mask in zip(weights.items(), masks, strict=True)
    }
    return rebuild(encoder, linears)


def nonzeros(linear: DenseLinear | SparseLinear) -> int:
    """Count the weights of a linear that are not zero."""
    if isinstance(linear, SparseLinear):
        return int(torch.count_nonzero(linear.values))
    return int(torch.count_nonzero(linear.weight))
