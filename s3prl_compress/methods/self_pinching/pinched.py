"""Encoders that prune themselves by learned thresholds: of single weights, or of whole units."""

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
from ...surgery.channels import PAIRS, Group, UnitKind, groups_of, queues_of, selection_of
from ...surgery.cutting import parameters_after, select_units
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
from ...surgery.threshold import largest
from ...training.penalty import Penalty
from .pinching import Threshold, unit_spread


class PinchedEncoder(ParametrizedEncoder):
    """An encoder whose masks follow from its own weights and from thresholds that are learned.

    Args:
        encoder: the student.
        sharpness: c of tau, see `pinching`.
    """

    def __init__(self, encoder: SpeechEncoder, sharpness: float) -> None:
        super().__init__(encoder)
        self.sharpness = sharpness
        self.thresholds = nn.ModuleDict()
        self.total = nonzero_parameters(encoder)
        self._density: Tensor | None = None

    def threshold(self, key: str) -> Threshold:
        """Return the threshold of a matrix or of a group of units."""
        found = self.thresholds[key]
        assert isinstance(found, Threshold)
        return found

    def density(self) -> Tensor:
        """Return the part of the encoder's parameters that the last forward pass left, a scalar."""
        assert self._density is not None
        return self._density

    @abstractmethod
    def hardened(self, sparsity: float) -> SpeechEncoder:
        """Return the encoder without what is below its thresholds.

        The thresholds are first multiplied by one factor for all of them, with which the encoder
        has lost the fraction `sparsity` of its parameters.

        Raises:
            InputError: that much cannot be taken away.
        """


class PinchedWeights(PinchedEncoder):
    """One threshold for each matrix; single weights go.

    Args:
        encoder: the student; its linears at `places` are dense.
        places: which linears are pruned.
        started: fraction of their weights that is below the threshold at the start.
        sharpness: c of tau.
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
        """Return the weights that are not below their threshold, and count them."""
        found, kept = {}, []
        for place, weight in dense_weights(self.encoder, self.places).items():
            threshold = self.threshold(key_of(place))
            mask = threshold.mask(weight.square(), weight.detach().var(correction=0))
            found[weight_name(place)] = weight * mask
            kept.append(mask.sum())
        self._density = (self.others + torch.stack(kept).sum()) / self.total
        return found

    def hardened(self, sparsity: float) -> SpeechEncoder:
        """See `PinchedEncoder`: linears come out sparse."""
        stored = dense_weights(self.encoder, self.places)
        scales = [1 / self.threshold(key_of(place)).value.item() for place in self.places]
        count = round(self.total * (1 - sparsity)) - self.others
        masks = largest(list(stored.values()), max(count, 0), scales)
        linears: dict[Place, Linear] = {}
        for (place, weight), mask in zip(stored.items(), masks, strict=True):
            bias = get_linear(self.encoder, *place).bias
            linears[place] = SparseLinear.from_dense(weight * mask, bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)


class PinchedUnits(PinchedEncoder):
    """One threshold for each kind of units of each layer; whole units go.

    A unit's size is the norm of its row and its column (of both rows for q and k).

    Args:
        encoder: the student.
        kinds: ffn (FFN units), qk and vo (dimensions inside heads); only where both linears that
            a unit stands in are dense.
        started: fraction of the units that is below the threshold at the start.
        sharpness: c of tau.
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
        """Return the squared size of each unit of a kind of a layer, [units]."""
        places = [(layer, name) for name in PAIRS[kind]]
        first, second = dense_weights(self.encoder, places).values()
        return first.square().sum(1) + second.square().sum(1 if kind == "qk" else 0)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights without the units that are below their threshold, and count them."""
        found: dict[str, Tensor] = {}
        gone = []
        width = self.shape.hidden
        for layer, kind in self.groups:
            squares = self.squares(layer, kind)
            mask = self.threshold(key_of((layer, kind))).mask(squares, unit_spread(squares))
            # One side is enough: the other one's part then comes to nothing.
            name = "q" if kind == "qk" else PAIRS[kind][1]
            linear = get_linear(self.encoder, layer, name)
            assert isinstance(linear, DenseLinear)
            if kind == "qk":
                found[weight_name((layer, name))] = linear.weight * mask.unsqueeze(1)
                found[bias_name((layer, name))] = linear.bias * mask
            else:
                found[weight_name((layer, name))] = linear.weight * mask
            gone.append((1 - mask).sum() * (2 * width + (2 if kind == "qk" else 1)))
        self._density = 1 - torch.stack(gone).sum() / self.total
        return found

    def hardened(self, sparsity: float) -> SpeechEncoder:
        """See `PinchedEncoder`: units are cut out; each FFN and each head keeps at least one."""
        kinds = {kind for _, kind in self.groups}
        groups = [
            group
            for group in groups_of(self.shape, sorted(kinds))
            if (group.layer, group.kind) in self.groups
        ]
        sizes = [self._relative_sizes(group) for group in groups]
        ranked = [np.argsort(own, kind="stable") for own in sizes]
        queues = queues_of(groups, 1, heads_together=False)
        keys = []
        for queue in queues:
            (position,) = queue.positions
            keys.append(sizes[position][ranked[position]][queue.gone - 1])

        def selection(counts: Counts) -> Selection:
            kept = {
                groups[queue.positions[0]]: sorted(
                    ranked[queue.positions[0]][queue.lost(steps) :].tolist()
                )
                for queue, steps in zip(queues, counts.tolist(), strict=True)
            }
            return selection_of(self.shape, kept)

        counts = find_sparsity(
            "self_pinching",
            sparsity,
            nonzero_parameters(self.encoder),
            RemovalOrder(keys),
            lambda counts: parameters_after(self.encoder, selection(counts)),
        )
        return select_units(self.encoder, selection(counts))

    def _relative_sizes(self, group: Group) -> np.ndarray:
        """Return the sizes of a group's units over their threshold, [units]."""
        threshold = self.threshold(key_of((group.layer, group.kind))).value
        squares = self.squares(group.layer, group.kind)[group.start : group.start + group.size]
        return (squares.sqrt() / threshold).detach().double().cpu().numpy()


class DensityPenalty(Penalty):
    """eta max(0, density - target), of a `PinchedEncoder`.

    Source: Xu et al., Interspeech 2025, arXiv 2505.22608, as far as it is public. The ramp is
    ours: where the target holds from the start, thresholds rise ever faster and shoot past it,
    since nothing holds them once the term is zero.

    Args:
        sparsity: 1 - target density.
        eta: weight.
        ramp_steps: in which the target density falls from 1.
    """

    def __init__(self, sparsity: float, eta: float, ramp_steps: int) -> None:
        super().__init__()
        self.sparsity, self.eta, self.ramp_steps = sparsity, eta, ramp_steps

    def target_at(self, step: int) -> float:
        """Return the target sparsity of step `step`, counted from 0."""
        return self.sparsity * min(1.0, (step + 1) / max(self.ramp_steps, 1))

    def forward(self, student: PinchedEncoder, step: int) -> dict[str, Tensor]:
        """Return `loss`, `sparsity` and `target`."""
        density, target = student.density(), self.target_at(step)
        return {
            "loss": self.eta * torch.relu(density - (1 - target)),
            "sparsity": 1 - density.detach(),
            "target": torch.tensor(target),
        }


def _dense(linear: Linear) -> bool:
    return isinstance(linear, DenseLinear) and linear.weight.numel() > 0
