"""Linears as gated factors: which singular values of which matrix stay is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor, nn

from ...encoder import SpeechEncoder
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import Linear
from ...surgery.cutting import saves_parameters
from ...surgery.gates import HardConcrete
from ...surgery.parametrized import ParametrizedEncoder, Place, dense_weights, key_of, weight_name
from ...surgery.rebuild import dense_linear, get_linear, low_rank_linear, rebuild

_SURE = 4.6  # log-odds of 99 to 1
_EDGE = 3.0  # in a softer start so many gates are undecided that their noise hides the rest


class GatedFactors(nn.Module):
    """W = U diag(s z) V^T, with a gate z for every singular value s.

    Args:
        weight: [out, in]; its thin SVD is the start.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        left, values, right = torch.linalg.svd(weight.detach().float(), full_matrices=False)
        self.left = nn.Parameter(left.contiguous())
        self.values = nn.Parameter(values)
        self.right = nn.Parameter(right.contiguous())
        self.gates = HardConcrete(len(values))

    @property
    def per_value(self) -> int:
        """Parameters that one singular value costs: m + n."""
        return self.left.shape[0] + self.right.shape[1]

    def weight(self) -> Tensor:
        """Return the matrix that takes effect, [out, in].

        Putting it together first costs less than the factors' own products as soon as a batch
        has more frames than the matrix has rows.
        """
        return (self.left * (self.values * self.gates())) @ self.right

    def expected_size(self) -> Tensor:
        """Return (m + n) sum P(open), a scalar.

        Without a minimum with m n, at which a matrix would stay dense: where all gates are open
        the minimum has no gradient at all, and none would ever close.
        """
        return self.per_value * self.gates.open_probability().sum()

    def harden(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors [r, in] and [out, r] of the singular values that are `kept` [n], bool.

        Each gets the root of the singular value, so that both are of one size.
        """
        values = self.values.detach()[kept]
        root = values.abs().sqrt()
        factor_in = root.unsqueeze(1) * self.right.detach()[kept]
        return factor_in, self.left.detach()[:, kept] * (root * values.sign())


class FactoredEncoder(ParametrizedEncoder):
    """An encoder whose linears at `places`, which are dense, run as gated factors.

    Args:
        encoder: the student.
        places: which linears are factored.
        total: parameters that sparsity is relative to; those of the encoder by default.
    """

    def __init__(
        self, encoder: SpeechEncoder, places: Sequence[Place], total: int | None = None
    ) -> None:
        super().__init__(encoder)
        self.places = tuple(places)
        stored = dense_weights(encoder, places)
        self.factors = nn.ModuleDict(
            {key_of(place): GatedFactors(weight) for place, weight in stored.items()}
        )
        for weight in stored.values():  # the factors stand for them
            weight.requires_grad_(False)
        own = nonzero_parameters(encoder)
        self.total = total or own
        self.others = own - sum(weight.numel() for weight in stored.values())

    def factored(self, place: Place) -> GatedFactors:
        """Return the factors of a linear."""
        found = self.factors[key_of(place)]
        assert isinstance(found, GatedFactors)
        return found

    def weights(self) -> dict[str, Tensor]:
        """Return the matrices that take effect."""
        return {weight_name(place): self.factored(place).weight() for place in self.places}

    def expected_sparsity(self) -> Tensor:
        """Return 1 - E[parameters] / parameters, below 0 while most gates are open."""
        sizes = [self.factored(place).expected_size() for place in self.places]
        return 1 - (self.others + torch.stack(sizes).sum()) / self.total

    @torch.no_grad()
    def start_by_energy(self, sparsity: float) -> None:
        """Set the gates so that the expected sparsity is `sparsity`, strong values rather open.

        P(open) = e^3 / (e^3 + t^3), where e is a singular value's share of its matrix's energy
        and t one number for all: an energy threshold without a sharp edge.
        """
        shares = []
        for place in self.places:
            energy = self.factored(place).values.double().square()
            shares.append((energy / energy.sum().clamp(min=1e-300)).clamp(min=1e-30).log())

        def missed(threshold: float) -> float:
            for place, share in zip(self.places, shares, strict=True):
                odds = (_EDGE * (share - threshold)).clamp(-_SURE, _SURE)
                self.factored(place).gates.log_alpha.copy_(odds)
            return float(self.expected_sparsity()) - sparsity

        low, high = -80.0, 10.0  # all open, all closed
        if missed(low) < 0 < missed(high):
            missed(brentq(missed, low, high, xtol=1e-4))

    def ranking(self) -> list[NDArray[np.float64]]:
        """Return the gates' log-odds of every linear, weakest first."""
        gates = [self.factored(place).gates for place in self.places]
        return [own.log_alpha.detach().double().sort().values.cpu().numpy() for own in gates]

    def stored_sizes(self, place: Place) -> NDArray[np.int64]:
        """Return how many weights of a linear are stored with 0, 1, ... singular values."""
        own = self.factored(place)
        dense = len(own.left) * own.right.shape[1]
        return np.minimum(np.arange(len(own.values) + 1) * own.per_value, dense)

    def strongest(self, place: Place, count: int) -> Tensor:
        """Return a mask of the `count` singular values of a linear whose gates are most open."""
        odds = self.factored(place).gates.log_alpha.detach()
        kept = torch.zeros_like(odds, dtype=torch.bool)
        # Of equal ones the larger singular values, which come first.
        kept[odds.argsort(descending=True, stable=True)[:count]] = True
        return kept

    def hardened(self, ranks: Mapping[Place, int]) -> SpeechEncoder:
        """Return the encoder with so many singular values of each linear, as two factors.

        A linear stays dense where factors do not pay; only those singular values are in it, too.
        """
        linears: dict[Place, Linear] = {}
        for place, rank in ranks.items():
            factor_in, factor_out = self.factored(place).harden(self.strongest(place, rank))
            bias = get_linear(self.encoder, *place).bias
            if saves_parameters(rank, len(factor_out), factor_in.shape[1]):
                linears[place] = low_rank_linear(factor_in, factor_out, bias)  # type: ignore[arg-type]
            else:
                linears[place] = dense_linear(factor_out @ factor_in, bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)
