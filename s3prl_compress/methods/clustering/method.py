"""Parameter clustering: similar channels are stored and computed once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from tqdm import tqdm

from ...common.method_config import MethodConfig
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import Linear, dense_weight, optional_bias
from ...encoder.model import SpeechEncoder
from ...surgery.budget import Counts, RemovalOrder, find_sparsity
from ...surgery.channels import ChannelGroup, layer_groups, layer_selections, pruning_schedules
from ...surgery.cutting import parameters_cut, stored_weights
from ...surgery.layered import LayerEdit, LayeredModel
from ...surgery.rebuild import get_linear, rebuild, shared_linear
from ...surgery.setting_types import ALL_LINEARS, HiddenUnitNames, LinearNames, Multiple, Sparsity
from ..registry import register
from .fold import can_fold, channel_rows, fold_layers
from .kmeans import Start, WardTree, centroids, cluster, distortion, ward_tree


class ClusteringConfig(MethodConfig):
    """Settings of parameter clustering."""

    sparsity: Sparsity = 0.1
    """Fraction of the given encoder's stored parameters to remove, between 0 and 1. Without
    training afterwards, the paper's 0.1 is usable and its 0.5 is not."""
    form: Literal["fold", "share"] = "fold"
    """Result of clustering. fold: removes FFN units and dimensions of heads, which makes the
    model smaller and faster; share: keeps all widths, and stores and computes rows that several
    outputs share only once."""
    allocation: Literal["mixed", "uniform"] = "mixed"
    """How the target is distributed. mixed: the same distortion in all matrices, each with the
    number of clusters that this takes; uniform: the same fraction of the channels everywhere."""
    units: HiddenUnitNames = ("ffn", "qk", "vo")
    """Which channels are clustered, with form fold: ffn (FFN units), qk and vo (dimensions inside
    heads)."""
    multiple: Multiple = 1
    """Sizes that change become multiples of this number, with form fold. Multiples of 8 suit
    processors; the larger it is, the fewer targets can be met."""
    linears: LinearNames = ALL_LINEARS
    """Which of the six linears of each layer are clustered, with form share."""
    start: Start = "ward"
    """Initialisation of k-means. ward: a cut through a Ward tree; random: random rows."""
    steps: int = Field(default=10, ge=0)
    """Largest number of iterations of k-means."""
    seed: int = Field(default=0, ge=0)
    """Random seed for choosing rows, with start random."""

    @model_validator(mode="after")
    def _settings_of_the_form(self) -> ClusteringConfig:
        if self.form == "share" and (self.units != ("ffn", "qk", "vo") or self.multiple > 1):
            raise ValueError("units and multiple go with form 'fold' only; 'share' has linears")
        if self.form == "fold" and self.linears != ALL_LINEARS:
            raise ValueError("linears go with form 'share' only; form 'fold' has units")
        return self


@register("clustering")
def clustering(encoder: SpeechEncoder, config: ClusteringConfig) -> SpeechEncoder:
    """Cluster channels by k-means and keep one of each cluster; needs no data and no training.

    Form fold applies to FFN units, to v and out inside a head, and to q and k together inside a
    head, if both matrices are dense or low-rank. Form share applies to linears of any kind where
    it saves parameters. At least one channel of each group remains. Heads of equal size in a layer
    stay equal. With allocation mixed, the distortion D_l(K), inertia over total inertia, has the
    same upper bound in every matrix.

    Reference:
        After Xu et al., Interspeech 2026, arXiv 2606.11836 (channel-wise parameter clustering by
        k-means, mixed sparsity). The two forms, Ward's tree as the start and the distortion rule
        are this package's own.
    """
    return _fold(encoder, config) if config.form == "fold" else _share(encoder, config)


def _fold(encoder: SpeechEncoder, config: ClusteringConfig) -> SpeechEncoder:
    groups = layer_groups(encoder.shape.layers, config.units)
    edit = fold_groups(encoder, groups, config, nonzero_parameters(encoder))
    return rebuild(encoder, edit.linears, layers=edit.layers)


def fold_groups(
    model: LayeredModel, groups: Sequence[ChannelGroup], config: ClusteringConfig, total: int
) -> LayerEdit:
    """Return the folded linears with which the target sparsity is met, and the new layer shapes.

    Args:
        model: the model with the layers; it is not changed.
        groups: the channels that may be merged; those that `can_fold` rejects stay as they are.
        config: settings of the method, with form fold.
        total: number of parameters of the model, over which the sparsity counts.

    Raises:
        InputError: the target cannot be met.
    """
    groups = [group for group in groups if can_fold(model, group)]
    layers = model.shape.layers
    schedules = pruning_schedules(groups, config.multiple, heads_together=True)
    trees = [
        ward_tree(channel_rows(model, group))
        for group in tqdm(groups, desc="distances", file=sys.stderr, leave=False)
    ]
    keys = [
        _keys([trees[position] for position in schedule.positions], config)[schedule.removed - 1]
        for schedule in schedules
    ]

    def left(counts: Counts) -> dict[int, int]:
        return {
            position: groups[position].size - schedule.removed_after(steps)
            for schedule, steps in zip(schedules, counts.tolist(), strict=True)
            for position in schedule.positions
        }

    counts = find_sparsity(
        "clustering",
        config.sparsity,
        total,
        RemovalOrder(keys),
        # The size of the result depends on the number of remaining channels, not on which.
        lambda counts: (
            total
            - parameters_cut(
                model,
                layer_selections(
                    layers,
                    {groups[position]: range(size) for position, size in left(counts).items()},
                ),
            )
        ),
    )
    labels = {}
    for position, size in tqdm(left(counts).items(), desc="k-means", file=sys.stderr, leave=False):
        group = groups[position]
        if size < group.size:
            tree = trees[position] if config.start == "ward" else None
            rows = channel_rows(model, group)
            labels[group] = cluster(rows, size, tree=tree, steps=config.steps, seed=config.seed)
    return fold_layers(model, labels)


def _share(encoder: SpeechEncoder, config: ClusteringConfig) -> SpeechEncoder:
    places = [
        (number, name)
        for number in range(len(encoder.shape.layers))
        for name in config.linears
        if min(encoder.shape.layers[number].sizes(name, encoder.shape.hidden)) > 1
    ]
    trees = [
        ward_tree(_rows(encoder, *place))
        for place in tqdm(places, desc="distances", file=sys.stderr, leave=False)
    ]
    total = nonzero_parameters(encoder)
    width = np.array([_rows(encoder, *place).shape[1] for place in places], dtype=np.int64)
    height = np.array([tree.size for tree in trees], dtype=np.int64)
    now = np.array([stored_weights(get_linear(encoder, *place), None, None) for place in places])

    def shared(counts: Counts) -> Counts:
        return (height - counts) * width

    counts = find_sparsity(
        "clustering",
        config.sparsity,
        total,
        RemovalOrder([_keys([tree], config) for tree in trees]),
        lambda counts: total - int((now - np.minimum(now, shared(counts))).sum()),
    )
    pays = shared(counts) < now
    linears: dict[tuple[int, str], Linear] = {}
    for place, tree, merged, less in tqdm(
        list(zip(places, trees, counts.tolist(), pays.tolist(), strict=True)),
        desc="k-means",
        file=sys.stderr,
        leave=False,
    ):
        if less:
            rows = _rows(encoder, *place)
            start = tree if config.start == "ward" else None
            labels = cluster(
                rows, tree.size - merged, tree=start, steps=config.steps, seed=config.seed
            )
            means = centroids(rows, labels).to(rows.dtype)
            inputs = encoder.shape.layers[place[0]].sizes(place[1], encoder.shape.hidden)[1]
            bias = means[:, -1] if means.shape[1] > inputs else None
            assignment = torch.from_numpy(labels).to(rows.device)
            linears[place] = shared_linear(means[:, :inputs], bias, assignment)
    return rebuild(encoder, linears)


def _keys(trees: list[WardTree], config: ClusteringConfig) -> np.ndarray:
    """Return the key of each merge, carried out in all `trees` (of equal size) at once."""
    if config.allocation == "uniform":
        return np.arange(1, trees[0].size) / trees[0].size
    return distortion(trees)


def _rows(encoder: SpeechEncoder, layer: int, name: str) -> Tensor:
    """Return the rows of a linear, each followed by its bias if there is one, [out, in (+ 1)]."""
    linear = get_linear(encoder, layer, name)
    weight, bias = dense_weight(linear), optional_bias(linear)
    return (weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)).detach()
