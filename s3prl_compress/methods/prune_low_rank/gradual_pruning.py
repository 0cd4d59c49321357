"""Gradual magnitude pruning during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...encoder import SpeechEncoder
from ...encoder.linear import Linear, SparseLinear
from ...surgery.largest_weights import largest
from ...surgery.parametrized import ParametrizedEncoder, Place, dense_weights, key_of, weight_name
from ...surgery.rebuild import get_linear, rebuild
from ...training.penalty import Penalty
from .nuclear import NuclearForm, nuclear_term


@dataclass(frozen=True)
class CubicSchedule:
    """The cubic schedule of the number of weights that remain.

    Source: Zhu, Gupta: To prune, or not to prune, 2017, arXiv 1710.01878, equation 1.
    """

    first: int
    """Number of weights at the start."""
    last: int
    """Number of weights at the end."""
    steps: int
    """Number of updates until the final masks: update `steps` - 1 is the first that runs with
    them. With 0 it is the first update."""
    every: int = 1
    """Number of updates between two sets of masks."""

    def due(self, step: int) -> bool:
        """Return whether update `step`, counted from 0, begins with new masks."""
        return step < max(self.steps, 1) and ((step + 1) % self.every == 0 or self.over(step + 1))

    def over(self, step: int) -> bool:
        """Return whether masks were final before update `step`."""
        return step >= max(self.steps, 1)

    def weights_left(self, step: int) -> int:
        """Return the number of weights that the masks made for update `step` leave."""
        remaining = 1 - min(1.0, (step + 1) / max(self.steps, 1))
        return round(self.last + (self.first - self.last) * remaining**3)


class MaskedWeights(ParametrizedEncoder):
    """An encoder with masked weights, which keep their values but have no effect.

    Args:
        encoder: the student; its linears at `places` are dense, and their zeros start masked.
        places: linears with masks.
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
        """Mask all but the `count` weights of largest magnitude; masked weights may come back.

        Args:
            count: number of weights over all linears.
            together: use one threshold for all linears; otherwise keep the same fraction of each.
        """
        weights = list(dense_weights(self.encoder, self.places).values())
        if together:
            masks = largest(weights, count)
        else:
            total = sum(weight.numel() for weight in weights)
            masks = [largest([w], round(count * w.numel() / total))[0] for w in weights]
        for place, mask in zip(self.places, masks, strict=True):
            # Not in place: the previous mask may still be needed by the backward pass.
            setattr(self, f"mask_{key_of(place)}", mask)

    def pruned(self) -> SpeechEncoder:
        """Return the encoder with sparse linears in place of the masked ones."""
        linears: dict[Place, Linear] = {}
        for place in self.places:
            linear = get_linear(self.encoder, *place)
            weight = dense_weights(self.encoder, [place])[place] * self.mask(place)
            linears[place] = SparseLinear.from_dense(weight, linear.bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)

    def with_zeros(self) -> SpeechEncoder:
        """Return the encoder with dense linears in which masked weights are zero."""
        with torch.no_grad():
            tensors = {name: weight.clone() for name, weight in self.weights().items()}
        return rebuild(self.encoder, {}, tensors=tensors)


class GradualPruning(Penalty):
    """Prunes a `MaskedWeights` on a schedule, and lowers its rank once masks are final.

    Args:
        schedule: number of weights in each update.
        together: use one threshold for all linears; otherwise keep the same fraction of each.
        nuclear: form of the nuclear norm, see the module `nuclear`.
        mu: weight of the nuclear norm.
        total: number of parameters of the encoder, for the logged sparsity.
    """

    def __init__(
        self,
        schedule: CubicSchedule,
        *,
        together: bool,
        nuclear: NuclearForm,
        mu: float,
        total: int,
    ) -> None:
        super().__init__()
        self.schedule, self.together, self.nuclear, self.mu = schedule, together, nuclear, mu
        self.total = total
        self._begun = -1

    def begin(self, student: MaskedWeights, step: int) -> None:
        """Compute the masks that are due in update `step`, once for all of its batches."""
        if self._begun != step and self.schedule.due(step):
            student.keep(self.schedule.weights_left(step), together=self.together)
        self._begun = step

    def forward(self, student: MaskedWeights, step: int) -> dict[str, Tensor]:
        """Return `loss` (the nuclear term), `nuclear_norm`, `sparsity` and its `target`."""
        some = student.mask(student.places[0])
        loss = torch.zeros((), device=some.device)
        scalars = {}
        if self.nuclear != "none" and self.schedule.over(step):
            norm = nuclear_term(student.weights().values(), self.nuclear)
            loss, scalars["nuclear_norm"] = self.mu * norm, norm.detach()
        kept = torch.stack([student.mask(place).sum() for place in student.places]).sum()
        target = torch.tensor((self.schedule.first - self.schedule.last) / self.total)
        sparsity = (self.schedule.first - kept) / self.total
        return {"loss": loss, "sparsity": sparsity, "target": target, **scalars}
