"""Encoders whose weights or units are masked below jointly learned thresholds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ...encoder import SpeechEncoder
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import DenseLinear, Linear, SparseLinear
from ...surgery.budget import Counts, RemovalOrder, find_sparsity
from ...surgery.channels import (
    PAIRS,
    ChannelGroup,
    UnitKind,
    groups_of,
    pruning_schedules,
    selection_of,
)
from ...surgery.cutting import parameters_after, select_units
from ...surgery.largest_weights import largest
from ...surgery.parametrized import (
    ParametrizedEncoder,
    Place,
    bias_name,
    dense_weights,
    key_of,
    weight_name,
)
from ...surgery.rebuild import get_linear, rebuild
from ...surgery.selection import Selection
from ...training.penalty import Penalty
from .threshold import Threshold, unit_variance


class ThresholdedEncoder(ParametrizedEncoder):
    """An encoder whose masks follow from its own weights and from learned thresholds.

    Args:
        encoder: the student.
        sharpness: factor c of tau, see the module `threshold`.
    """

    def __init__(self, encoder: SpeechEncoder, sharpness: float) -> None:
        super().__init__(encoder)
        self.sharpness = sharpness
        self.thresholds = nn.ModuleDict()
        self.total = nonzero_parameters(encoder)
        self._density: Tensor | None = None

    def threshold(self, key: str) -> Threshold:
        """Return the threshold of a matrix or of a group of units."""
        threshold = self.thresholds[key]
        assert isinstance(threshold, Threshold)
        return threshold

    def density(self) -> Tensor:
        """Return the fraction of parameters that the last forward pass did not mask, a scalar."""
        assert self._density is not None
        return self._density

    @property
    def reached(self) -> float | None:
        """The fraction of parameters that the last forward pass masked; None before the first."""
        return None if self._density is None else 1 - self._density.item()

    @abstractmethod
    def pruned(self, sparsity: float) -> SpeechEncoder:
        """Return the encoder without the weights or units that are below their thresholds.

        All thresholds are first multiplied by one factor, chosen so that the fraction `sparsity`
        of the encoder's parameters is removed.

        Raises:
            InputError: the target cannot be met.
        """


class ThresholdedWeights(ThresholdedEncoder):
    """Masks single weights, with one threshold per matrix.

    Args:
        encoder: the student; its linears at `places` are dense.
        places: linears to prune.
        started: fraction of their weights below the threshold at the start.
        sharpness: factor c of tau, see the module `threshold`.
    """

    def __init__(
        self, encoder: SpeechEncoder, places: Sequence[Place], started: float, sharpness: float
    ) -> None:
        super().__init__(encoder, sharpness)
        self.places = tuple(places)
        stored = dense_weights(encoder, places)
        for place, weight in stored.items():
            self.thresholds[key_of(place)] = Threshold(weight.abs(), started, sharpness)
        present = sum(int(torch.count_nonzero(weight)) for weight in stored.values())
        zeros = sum(weight.numel() for weight in stored.values()) - present
        self.total -= zeros
        self.others = self.total - present

    def weights(self) -> dict[str, Tensor]:
        """Return the weights with those below their threshold set to zero; update the density."""
        weights, kept = {}, []
        for place, weight in dense_weights(self.encoder, self.places).items():
            threshold = self.threshold(key_of(place))
            mask = threshold.mask(weight.square(), weight.detach().var(correction=0))
            weights[weight_name(place)] = weight * mask
            kept.append(mask.sum())
        self._density = (self.others + torch.stack(kept).sum()) / self.total
        return weights

    def pruned(self, sparsity: float) -> SpeechEncoder:
        """See `ThresholdedEncoder`. The pruned linears are sparse."""
        stored = dense_weights(self.encoder, self.places)
        scales = [1 / self.threshold(key_of(place)).value.item() for place in self.places]
        count = round(self.total * (1 - sparsity)) - self.others
        masks = largest(list(stored.values()), max(count, 0), scales)
        linears: dict[Place, Linear] = {}
        for (place, weight), mask in zip(stored.items(), masks, strict=True):
            bias = get_linear(self.encoder, *place).bias
            linears[place] = SparseLinear.from_dense(weight * mask, bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)


class ThresholdedUnits(ThresholdedEncoder):
    """Masks whole units, with one threshold per layer and kind of unit.

    A unit's size is the joint norm of its row and its column (of both rows for q and k).

    Args:
        encoder: the student.
        kinds: ffn (FFN units), qk and vo (dimensions inside heads). Units are pruned only where
            both of their linears are dense.
        started: fraction of the units below the threshold at the start.
        sharpness: factor c of tau, see the module `threshold`.
    """

    def __init__(
        self, encoder: SpeechEncoder, kinds: Sequence[UnitKind], started: float, sharpness: float
    ) -> None:
        super().__init__(encoder, sharpness)
        self.groups = [
            (layer, kind)
            for layer in range(len(encoder.shape.layers))
            for kind in kinds
            if all(_dense(get_linear(encoder, layer, name)) for name in PAIRS[kind])
        ]
        for group in self.groups:
            sizes = self.squares(*group).detach().sqrt()
            self.thresholds[key_of(group)] = Threshold(sizes, started, sharpness)

    def squares(self, layer: int, kind: UnitKind) -> Tensor:
        """Return the squared size of each unit of a kind in a layer, [units]."""
        places = [(layer, name) for name in PAIRS[kind]]
        first, second = dense_weights(self.encoder, places).values()
        return first.square().sum(1) + second.square().sum(1 if kind == "qk" else 0)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights with units below their threshold masked; update the density."""
        weights: dict[str, Tensor] = {}
        removed = []
        width, biases = self.shape.hidden, 1 + self.shape.key_bias
        for layer, kind in self.groups:
            squares = self.squares(layer, kind)
            mask = self.threshold(key_of((layer, kind))).mask(squares, unit_variance(squares))
            # Masking one of a unit's two linears is enough: its contribution is then zero.
            name = "q" if kind == "qk" else PAIRS[kind][1]
            linear = get_linear(self.encoder, layer, name)
            assert isinstance(linear, DenseLinear)
            if kind == "qk":
                weights[weight_name((layer, name))] = linear.weight * mask.unsqueeze(1)
                weights[bias_name((layer, name))] = linear.bias * mask
            else:
                weights[weight_name((layer, name))] = linear.weight * mask
            removed.append((1 - mask).sum() * (2 * width + (biases if kind == "qk" else 1)))
        self._density = 1 - torch.stack(removed).sum() / self.total
        return weights

    def pruned(self, sparsity: float) -> SpeechEncoder:
        """See `ThresholdedEncoder`. Units are cut out; each FFN and head keeps at least one."""
        kinds = {kind for _, kind in self.groups}
        groups = [
            group
            for group in groups_of(self.shape, sorted(kinds))
            if (group.layer, group.kind) in self.groups
        ]
        sizes = [self._relative_sizes(group) for group in groups]
        ranked = [np.argsort(own, kind="stable") for own in sizes]
        schedules = pruning_schedules(groups, 1, heads_together=False)
        keys = []
        for schedule in schedules:
            (position,) = schedule.positions
            keys.append(sizes[position][ranked[position]][schedule.removed - 1])

        def selection(counts: Counts) -> Selection:
            kept: dict[ChannelGroup, list[int]] = {}
            for schedule, steps in zip(schedules, counts.tolist(), strict=True):
                (position,) = schedule.positions
                remaining = ranked[position][schedule.removed_after(steps) :]
                kept[groups[position]] = sorted(remaining.tolist())
            return selection_of(self.shape, kept)

        counts = find_sparsity(
            "self_pinching",
            sparsity,
            nonzero_parameters(self.encoder),
            RemovalOrder(keys),
            lambda counts: parameters_after(self.encoder, selection(counts)),
        )
        return select_units(self.encoder, selection(counts))

    def _relative_sizes(self, group: ChannelGroup) -> np.ndarray:
        """Return the sizes of a group's units divided by their threshold, [units]."""
        threshold = self.threshold(key_of((group.layer, group.kind))).value
        squares = self.squares(group.layer, group.kind)[group.start : group.start + group.size]
        return (squares.sqrt() / threshold).detach().double().cpu().numpy()


class DensityPenalty(Penalty):
    """The penalty eta max(0, density - target) on a `ThresholdedEncoder`.

    Source: Xu et al., Interspeech 2025, arXiv 2505.22608, as far as it is public. The ramp is
    ours: if the final target applies from the start, thresholds rise faster and faster and
    overshoot it, since nothing stops them once the penalty is zero.

    Args:
        sparsity: 1 - target density.
        eta: weight of the penalty.
        ramp_steps: number of updates in which the target density falls from 1.
    """

    def __init__(self, sparsity: float, eta: float, ramp_steps: int) -> None:
        super().__init__()
        self.sparsity, self.eta, self.ramp_steps = sparsity, eta, ramp_steps

    def target_at(self, step: int) -> float:
        """Return the target sparsity of update `step`, counted from 0."""
        return self.sparsity * min(1.0, (step + 1) / max(self.ramp_steps, 1))

    def forward(self, student: ThresholdedEncoder, step: int) -> dict[str, Tensor]:
        """Return `loss`, `sparsity` and `target`."""
        density, target = student.density(), self.target_at(step)
        return {
            "loss": self.eta * torch.relu(density - (1 - target)),
            "sparsity": 1 - density.detach(),
            "target": torch.tensor(target),
        }


def _dense(linear: Linear) -> bool:
    return isinstance(linear, DenseLinear) and linear.weight.numel() > 0
