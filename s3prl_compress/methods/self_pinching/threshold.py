"""The self-pinching gate: a mask from weights and one learned threshold per group.

    M = sigmoid((W^2 - t^2) / (2 tau)), t = softplus(r), tau = c var(W)

Source: Xu et al., Interspeech 2025, arXiv 2505.22608, as far as it is public. The initial
threshold, tau, and the definition of a unit's size are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TINY = torch.finfo(torch.float32).tiny


class Threshold(nn.Module):
    """One threshold t = u softplus(r) for a group; `raw_threshold` r is trained.

    The scale u is a tenth of the sizes' standard deviation at the start. One learning rate then
    suits weights and units of any scale, because it determines which part of a group an update
    can prune. Also, t is nearly linear in r; with a scale as large as t it would be exponential
    near the start.
    """

    unit: Tensor

    def __init__(self, sizes: Tensor, started: float, sharpness: float) -> None:
        """Initialise t so that the fraction `started` of `sizes` is below it.

        Args:
            sizes: magnitudes at the start, of any shape.
            started: fraction that is pruned at the start, 0 to 1.
            sharpness: factor c of tau; the smaller it is, the closer the gradient's sigmoid is to
                a step.
        """
        super().__init__()
        self.sharpness = sharpness
        flat = sizes.detach().flatten().float()
        least = flat.mean() / 1000  # used where all sizes are equal
        deviation = torch.maximum(flat.std(correction=0), least)
        self.register_buffer("unit", (deviation / 10).clamp(min=_TINY))
        self.raw_threshold = nn.Parameter(inverse_softplus(_quantile(flat / self.unit, started)))

    @property
    def value(self) -> Tensor:
        """The threshold t."""
        return self.unit * F.softplus(self.raw_threshold)

    def mask(self, squares: Tensor, variance: Tensor) -> Tensor:
        """Return 1[W^2 >= t^2] with the gradient of sigmoid((W^2 - t^2) / (2 c variance)).

        Args:
            squares: squared magnitudes; gradients flow into them and into the threshold.
            variance: var(W) for single weights, `unit_variance` for units; a constant.
        """
        square = self.value.square()
        tau = self.sharpness * variance.detach().clamp(min=_TINY)
        soft = torch.sigmoid((squares - square) / (2 * tau))
        hard = (squares.detach() >= square.detach()).to(soft.dtype)
        return hard + (soft - soft.detach())  # exactly 0 or 1


def unit_variance(squares: Tensor) -> Tensor:
    """Return the counterpart of var(W) for units with squared norms `squares` [n], a scalar.

    It is their standard deviation divided by sqrt(2). For units of a single Gaussian weight this
    is var(W).
    """
    return squares.detach().std(correction=0) / 2**0.5


def inverse_softplus(value: Tensor) -> Tensor:
    """Return r with softplus(r) = `value`, for positive values of any size."""
    return value + torch.log(-torch.expm1(-value))


def _quantile(sizes: Tensor, fraction: float) -> Tensor:
    """Return a number above the fraction `fraction` of the sizes [n], and at least 0.01.

    From a threshold close to zero, r would need many updates to reach one that prunes.
    """
    position = min(int(fraction * len(sizes)), len(sizes) - 1)
    value = sizes.kthvalue(position + 1).values  # `position` of them lie below it
    return (value * (1 - 1e-4)).clamp(min=1e-2)
