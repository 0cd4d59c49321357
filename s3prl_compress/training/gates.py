"""Hard-concrete gates: which units stay, learned by gradient descent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
"""The sigmoid is stretched to this interval and cut off at 0 and 1, so that both are reached."""

_SHIFT = TEMPERATURE * math.log(-LOW / HIGH)


class HardConcrete(nn.Module):
    """One gate per unit, open (1), closed (0), or in between where it is not straight-through.

    While training every call draws new gates, from torch's own generator. In eval mode they are
    fixed: with straight-through the unit stays where `log_alpha > 0`; without, it is scaled by
    the stretched sigmoid of `log_alpha`, which is exactly 0 below log(1 / 11).

    Source: Louizos, Welling, Kingma: Learning sparse neural networks through L0 regularization,
    ICLR 2018, arXiv 1712.01312. Straight-through: Wang et al., Interspeech 2023, arXiv 2306.01385.

    Args:
        size: number of units.
        drop: probability that a gate is closed at the start.
        straight_through: forward the rounded gate, backward the one that is not rounded.
    """

    def __init__(self, size: int, *, drop: float = 0.01, straight_through: bool = True) -> None:
        super().__init__()
        if not 0 < drop < 1:
            raise ValueError(f"drop is a probability between 0 and 1, not {drop}")
        self.straight_through = straight_through
        start = math.log((1 - drop) / drop) + (0.0 if straight_through else _SHIFT)
        self.log_alpha = nn.Parameter(torch.full((size,), start))
        self.threshold = 0.0 if straight_through else math.log(-LOW / HIGH)

    def forward(self) -> Tensor:
        """Return the gates [size], float32."""
        if not self.training:
            stretched = torch.sigmoid(self.log_alpha) * (HIGH - LOW) + LOW
            return self.hard().float() if self.straight_through else stretched.clamp(0, 1)
        noise = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        concrete = torch.sigmoid((torch.logit(noise) + self.log_alpha) / TEMPERATURE)
        gates = (concrete * (HIGH - LOW) + LOW).clamp(0, 1)
        if not self.straight_through:
            return gates
        rounded = (gates > 0.5).to(gates.dtype)
        # The difference of a tensor and itself is exactly 0, so that gates are exactly 0 or 1.
        return rounded + (gates - gates.detach())

    def open_probability(self) -> Tensor:
        """Return the probability [size] that the forward pass does not close the gate.

        That is P(z > 0.5) = sigmoid(log_alpha) where gates are rounded, and P(z > 0) elsewhere.
        The two must not be mixed up: where half of the gates round to 1, P(z > 0) is 0.83.
        """
        if self.straight_through:
            return torch.sigmoid(self.log_alpha)
        return torch.sigmoid(self.log_alpha - _SHIFT)

    @torch.no_grad()
    def hard(self) -> Tensor:
        """Return which units stay in eval mode, [size] bool."""
        return self.log_alpha > self.threshold
