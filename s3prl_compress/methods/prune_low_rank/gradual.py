"""Gradual magnitude pruning while the weights that stay are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...encoder import SpeechEncoder
from ...encoder.linear import Linear, SparseLinear
from ...surgery.parametrized import ParametrizedEncoder, Place, dense_weights, key_of, weight_name
from ...surgery.rebuild import get_linear, rebuild
from ...surgery.threshold import largest
from ...training.penalty import Penalty
from .nuclear import NuclearForm, nuclear_term


@dataclass(frozen=True)
class Ramp:
    """How many weights are left in which update: the cubic schedule.

    Source: Zhu, Gupta: To prune, or not to prune, 2017, arXiv 1710.01878, equation 1.
    """

    first: int
    """Weights at the start."""
    last: int
    """Weights when the ramp is over."""
    steps: int
    """Updates until the last masks are made, with which update `steps` - 1 runs; 0 for the first
    update."""
    every: int = 1
    """Updates from one set of masks to the next."""

    def due(self, step: int) -> bool:
        """Say whether update `step`, counted from 0, begins with new masks."""
        return step < max(self.steps, 1) and ((step + 1) % self.every == 0 or self.over(step + 1))

    def over(self, step: int) -> bool:
        """Say whether masks were final before update `step`."""
        return step >= max(self.steps, 1)

    def left(self, step: int) -> int:
        """Return how many weights the masks that are made for update `step` leave."""
        remaining = 1 - min(1.0, (step + 1) / max(self.steps, 1))
        return round(self.last + (self.first - self.last) * remaining**3)


class MaskedWeights(ParametrizedEncoder):
    """An encoder some of whose weights are masked: they keep their values and take no effect.

    Args:
        encoder: its linears at `places` are dense; what is zero there starts masked.
        places: which linears are masked.
    """

    def __init__(self, encoder: SpeechEncoder, places: Sequence[Place]) -> None:
        super().__init__(encoder)
        self.places = tuple(places)
        for place, weight in dense_weights(encoder, places).items():
            self.register_buffer(f"mask_{key_of(place)}", weight.detach() != 0)

    def mask(self, place: Place) -> Tensor:
        """Return the mask of a linear's weight [out, in], bool."""
        return self.get_buffer(f"mask_{key_of(place)}")

    def weights(self) -> dict[str, Tensor]:
        """Return the masked weights."""
        stored = dense_weights(self.encoder, self.places)
        return {weight_name(place): stored[place] * self.mask(place) for place in self.places}

    @torch.no_grad()
    def keep(self, count: int, *, together: bool = True) -> None:
        """Mask all but the `count` weights of largest magnitude, over all linears or in each.

        Weights that were masked may come back.
        """
        weights = list(dense_weights(self.encoder, self.places).values())
        if together:
            masks = largest(weights, count)
        else:
            total = sum(weight.numel() for weight in weights)
            masks = [largest([w], round(count * w.numel() / total))[0] for w in weights]
        for place, mask in zip(self.places, masks, strict=True):
            # A new tensor: the one before may still be needed for gradients.
            setattr(self, f"mask_{key_of(place)}", mask)

    def hardened(self) -> SpeechEncoder:
        """Return the encoder with its masked linears sparse: what runs here, on its own."""
        linears: dict[Place, Linear] = {}
        for place in self.places:
            linear = get_linear(self.encoder, *place)
            weight = dense_weights(self.encoder, [place])[place] * self.mask(place)
            linears[place] = SparseLinear.from_dense(weight, linear.bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)

    def with_zeros(self) -> SpeechEncoder:
        """Return the encoder with its masked weights zero in dense linears."""
        with torch.no_grad():
            tensors = {name: weight.clone() for name, weight in self.weights().items()}
        return rebuild(self.encoder, {}, tensors=tensors)


class GradualPruning(Penalty):
    """Prunes a `MaskedWeights` while it is trained; lowers its rank once the ramp is over.

    Args:
        ramp: how many weights are left when.
        together: one threshold for all linears, or the same fraction of each.
        nuclear: form of the nuclear norm, see `nuclear`.
        mu: its weight.
        total: parameters of the encoder, for the sparsity that is logged.
    """

    def __init__(
        self, ramp: Ramp, *, together: bool, nuclear: NuclearForm, mu: float, total: int
    ) -> None:
        super().__init__()
        self.ramp, self.together, self.nuclear, self.mu = ramp, together, nuclear, mu
        self.total = total
        self._begun = -1

    def begin(self, student: MaskedWeights, step: int) -> None:
        """Make the masks that are due, with which all batches of update `step` run.

        Weights change at the end of an update only, so that its later batches would get the same.
        """
        if self._begun != step and self.ramp.due(step):
            student.keep(self.ramp.left(step), together=self.together)
        self._begun = step

    def forward(self, student: MaskedWeights, step: int) -> dict[str, Tensor]:
        """Return `loss` (the nuclear term), `nuclear_norm`, `sparsity` and its `target`."""
        some = student.mask(student.places[0])
        loss = torch.zeros((), device=some.device)
        scalars = {}
        if self.nuclear != "none" and self.ramp.over(step):
            norm = nuclear_term(student.weights().values(), self.nuclear)
            loss, scalars["nuclear_norm"] = self.mu * norm, norm.detach()
        kept = torch.stack([student.mask(place).sum() for place in student.places]).sum()
        target = torch.tensor((self.ramp.first - self.ramp.last) / self.total)
        sparsity = (self.ramp.first - kept) / self.total
        return {"loss": loss, "sparsity": sparsity, "target": target, **scalars}
