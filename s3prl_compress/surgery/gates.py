"""Hard-concrete gates: the choice of units is learned by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

TEMPERATURE = 2 / 3
LOW, HIGH = -0.1, 1.1
"""The sigmoid is stretched to this interval and clamped to [0, 1], so that both are reached."""

POSITIVE_SHIFT = -TEMPERATURE * math.log(-LOW / HIGH)
"""P(z > 0) = sigmoid(log_alpha + POSITIVE_SHIFT); the shift is about 1.6."""

_EVAL_SLOPE = 0.8 / TEMPERATURE  # 0.8: DPHuBERT's "empirically validated magic number"
_TINY = torch.finfo(torch.float32).tiny


class HardConcrete(nn.Module):
    """One gate per unit: open (1), closed (0), or, without straight-through, in between.

    In training mode every call draws new gates from torch's global generator. In eval mode gates
    are fixed. With straight-through, a unit is kept, with gate 1, where `log_alpha > 0`. Without
    it, as published with DPHuBERT, each module keeps its expected number of units,
    n - round(n - sum P(z > 0)), those of largest log_alpha, each scaled by
    sigmoid(0.8 log_alpha / temperature), an approximation of the gate's mean. `set_gates` replaces
    that choice of units; the scales stay as they were learned.

    Source: Louizos, Welling, Kingma: Learning sparse neural networks through L0 regularization,
    ICLR 2018, arXiv 1712.01312. Straight-through: Wang et al., Interspeech 2023, arXiv 2306.01385.
    Eval mode without it, and the start: DPHuBERT (Peng et al., Interspeech 2023, arXiv 2305.17651,
    wav2vec2/hardconcrete.py of its published code).

    Args:
        size: number of units.
        drop: between 0 and 1; `log_alpha` starts at log((1 - drop) / drop). With straight-through
            this is the initial probability that a gate is closed. Without it, as published, gates
            are closed less often: with probability 0.17 for a drop of 0.5.
        straight_through: use the rounded gate in the forward pass and the gradient of the gate
            before rounding in the backward pass.
        modules: number of units of each module, in the order of the units; by default all units
            belong to one module.
    """

    fixed: Tensor | None

    def __init__(
        self,
        size: int,
        *,
        drop: float = 0.01,
        straight_through: bool = True,
        modules: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not 0 < drop < 1:
            raise ValueError(f"drop is a probability between 0 and 1, not {drop}")
        self.straight_through = straight_through
        self.module_sizes = [size] if modules is None else list(modules)
        self.log_alpha = nn.Parameter(torch.full((size,), math.log((1 - drop) / drop)))
        self.register_buffer("fixed", None, persistent=False)

    def forward(self) -> Tensor:
        """Return the values of the gates, [size] float32."""
        if not self.training:
            kept = self.hard().float()
            return kept if self.straight_through else kept * self._scale()
        noise = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
        concrete = torch.sigmoid((torch.logit(noise) + self.log_alpha) / TEMPERATURE)
        gates = (concrete * (HIGH - LOW) + LOW).clamp(0, 1)
        if not self.straight_through:
            return gates
        rounded = (gates > 0.5).to(gates.dtype)
        # The difference of a tensor and itself is exactly 0, so that gates are exactly 0 or 1.
        return rounded + (gates - gates.detach())

    def open_probability(self) -> Tensor:
        """Return the probability that a gate is open in training, [size].

        This is P(z > 0.5) = sigmoid(log_alpha) where gates are rounded, and P(z > 0) otherwise.
        The two differ a lot: where half of the gates round to 1, P(z > 0) is 0.83.
        """
        if self.straight_through:
            return torch.sigmoid(self.log_alpha)
        return torch.sigmoid(self.log_alpha + POSITIVE_SHIFT)

    @torch.no_grad()
    def hard(self) -> Tensor:
        """Return which units are kept in eval mode, [size] bool."""
        if self.fixed is not None:
            return self.fixed
        if self.straight_through:
            return self.log_alpha > 0
        kept = torch.ones_like(self.log_alpha, dtype=torch.bool)
        start = 0
        for open_ in self.open_probability().split(self.module_sizes):
            closed = round(len(open_) - float(open_.sum()))
            kept[start + torch.argsort(open_, stable=True)[:closed]] = False
            start += len(open_)
        return kept

    def set_gates(self, kept: Tensor) -> None:
        """Fix which units are kept in eval mode, [size] bool on any device."""
        self.fixed = kept.to(self.log_alpha.device)

    def _scale(self) -> Tensor:
        # Never 0: MaskedLayerNorm takes a channel for closed where its scale is 0.
        return torch.sigmoid(_EVAL_SLOPE * self.log_alpha).clamp(min=_TINY)
