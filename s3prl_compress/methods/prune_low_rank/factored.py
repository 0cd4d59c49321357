"""Linears as gated factors, for learning which singular values to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...encoder import SpeechEncoder
from ...encoder.cost import nonzero_parameters
from ...encoder.linear import Linear
from ...surgery.cutting import saves_parameters
from ...surgery.gates import HardConcrete
from ...surgery.parametrized import ParametrizedEncoder, Place, dense_weights, key_of, weight_name
from ...surgery.rebuild import dense_linear, get_linear, low_rank_linear, rebuild

_SURE = 4.6  # log-odds of 99 to 1
_EDGE = 3.0  # a softer start leaves so many gates undecided that their noise dominates


class GatedFactors(nn.Module):
    """W = U diag(s z) V^T, with a gate z for every singular value s.

    Args:
        weight: matrix whose thin SVD is the initial value, [out, in].
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
        """Number of parameters per singular value, m + n."""
        return self.left.shape[0] + self.right.shape[1]

    def weight(self) -> Tensor:
        """Return the effective matrix, [out, in].

        Multiplying the factors first is cheaper than applying them one after the other as soon as
        a batch has more frames than the matrix has rows.
        """
        return (self.left * (self.values * self.gates())) @ self.right

    def expected_size(self) -> Tensor:
        """Return the expected number of parameters, (m + n) sum P(open), a scalar.

        It is not bounded by m n, the size of the dense matrix: the bound would have no gradient
        where all gates are open, and none would ever close.
        """
        return self.per_value * self.gates.open_probability().sum()

    def truncated(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return factors [r, in] and [out, r] of the singular values that are `kept` [n], bool.

        Each factor gets the square root of the singular values, so that both have similar norms.
        """
        values = self.values.detach()[kept]
        root = values.abs().sqrt()
        factor_in = root.unsqueeze(1) * self.right.detach()[kept]
        return factor_in, self.left.detach()[:, kept] * (root * values.sign())


class FactoredEncoder(ParametrizedEncoder):
    """An encoder whose linears at `places` run as gated factors.

    Args:
        encoder: the student; its linears at `places` are dense.
        places: linears to factor.
        total: number of parameters that sparsity refers to; by default that of the encoder.
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
        for weight in stored.values():  # the factors are trained in their place
            weight.requires_grad_(False)
        own = nonzero_parameters(encoder)
        self.total = total or own
        self.others = own - sum(weight.numel() for weight in stored.values())

    def factored(self, place: Place) -> GatedFactors:
        """Return the factors of a linear."""
        factors = self.factors[key_of(place)]
        assert isinstance(factors, GatedFactors)
        return factors

    def weights(self) -> dict[str, Tensor]:
        """Return the effective matrices."""
        return {weight_name(place): self.factored(place).weight() for place in self.places}

    def expected_sparsity(self) -> Tensor:
        """Return 1 - E[parameters] / parameters, below 0 while most gates are open."""
        sizes = [self.factored(place).expected_size() for place in self.places]
        return 1 - (self.others + torch.stack(sizes).sum()) / self.total

    @torch.no_grad()
    def init_gates_by_energy(self, sparsity: float) -> None:
        """Set the gates to the expected sparsity `sparsity`, large singular values more open.

        P(open) = e^3 / (e^3 + t^3), where e is a singular value's fraction of its matrix's energy
        and t is the same for all matrices: an energy threshold with a soft edge.
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
            from scipy.optimize import brentq

            missed(brentq(missed, low, high, xtol=1e-4))

    def ranking(self) -> list[NDArray[np.float64]]:
        """Return the gates' log-odds of every linear, in ascending order."""
        gates = [self.factored(place).gates for place in self.places]
        return [own.log_alpha.detach().double().sort().values.cpu().numpy() for own in gates]

    def stored_sizes(self, place: Place) -> NDArray[np.int64]:
        """Return how many weights of a linear are stored if 0, 1, ... singular values are kept."""
        own = self.factored(place)
        dense = len(own.left) * own.right.shape[1]
        return np.minimum(np.arange(len(own.values) + 1) * own.per_value, dense)

    def strongest(self, place: Place, count: int) -> Tensor:
        """Return a mask of the `count` singular values of a linear with the largest log-odds."""
        odds = self.factored(place).gates.log_alpha.detach()
        kept = torch.zeros_like(odds, dtype=torch.bool)
        # The sort is stable, so ties go to larger singular values, which come first.
        kept[odds.argsort(descending=True, stable=True)[:count]] = True
        return kept

    def pruned(self, ranks: Mapping[Place, int]) -> SpeechEncoder:
        """Return the encoder with the given number of singular values of each linear.

        A linear becomes two factors, or, where these would save nothing, the dense product of
        them.
        """
        linears: dict[Place, Linear] = {}
        for place, rank in ranks.items():
            factor_in, factor_out = self.factored(place).truncated(self.strongest(place, rank))
            bias = get_linear(self.encoder, *place).bias
            if saves_parameters(rank, len(factor_out), factor_in.shape[1]):
                linears[place] = low_rank_linear(factor_in, factor_out, bias)  # type: ignore[arg-type]
            else:
                linears[place] = dense_linear(factor_out @ factor_in, bias)  # type: ignore[arg-type]
        return rebuild(self.encoder, linears)
