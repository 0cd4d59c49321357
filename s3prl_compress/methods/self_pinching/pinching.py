"""Self-pinching: masks that follow from weights and one learned threshold per group.

    M = sigmoid((W^2 - t^2) / (2 tau)), t = softplus(r), tau = c var(W)

Source: Xu et al., Interspeech 2025, arXiv 2505.22608, as far as it is public; how the threshold
starts, tau, and what a unit's size is are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TINY = torch.finfo(torch.float32).tiny


class Threshold(nn.Module):
    """One threshold for all sizes of a group, t = u softplus(r); `raw_threshold` r is trained.

    The unit u is a tenth of the sizes' standard deviation at the start. So one learning rate
    suits weights and units of any scale: it says how much of a group a step can prune. And t is
    nearly linear in r: a unit as large as t would make it exponential near the start.
    """

    unit: Tensor

    def __init__(self, sizes: Tensor, started: float, sharpness: float) -> None:
        """Start where the fraction `started` of `sizes` (magnitudes, any shape) is below t.

        Args:
            sizes: magnitudes at the start.
            started: fraction that is pruned at the start, 0 to 1.
            sharpness: c of tau; the smaller, the closer the mask is to a step.
        """
        super().__init__()
        self.sharpness = sharpness
        flat = sizes.detach().flatten().float()
        least = flat.mean() / 1000  # where all are equal
        deviation = torch.maximum(flat.std(correction=0), least)
        self.register_buffer("unit", (deviation / 10).clamp(min=_TINY))
        self.raw_threshold = nn.Parameter(inverse_softplus(_quantile(flat / self.unit, started)))

    @property
    def value(self) -> Tensor:
        """The threshold t."""
        return self.unit * F.softplus(self.raw_threshold)

    def mask(self, squares: Tensor, spread: Tensor) -> Tensor:
        """Return 1[W^2 >= t^2] with the gradient of sigmoid((W^2 - t^2) / (2 c spread)).

        Args:
            squares: squared magnitudes; gradients flow into them and into the threshold.
            spread: var(W) for single weights, `unit_spread` for units; a constant.
        """
        square = self.value.square()
        tau = self.sharpness * spread.detach().clamp(min=_TINY)
        soft = torch.sigmoid((squares - square) / (2 * tau))
        hard = (squares.detach() >= square.detach()).to(soft.dtype)
        return hard + (soft - soft.detach())  # exactly 0 or 1


def unit_spread(squares: Tensor) -> Tensor:
    """Return what stands for var(W) where units have squared norms `squares` [n].

    Their standard deviation over sqrt(2): it is var(W) again where a unit is one Gaussian weight.
    """
    return squares.detach().std(correction=0) / 2**0.5


def inverse_softplus(value: Tensor) -> Tensor:
    """Return r with softplus(r) = `value`, for positive values of any size."""
    return value + torch.log(-torch.expm1(-value))


def _quantile(sizes: Tensor, fraction: float) -> Tensor:
    """Return a number that `fraction` of the sizes [n] lie below, at least a hundredth.

    A threshold of next to nothing would be many steps of r away from one that prunes.
    """
    position = min(int(fraction * len(sizes)), len(sizes) - 1)
    value = sizes.kthvalue(position + 1).values  # `position` of them lie below it
    return (value * (1 - 1e-4)).clamp(min=1e-2)
