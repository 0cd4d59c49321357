"""Bringing gates to a target: a Lagrangian whose multipliers are learned, too."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SparsityLagrangian(nn.Module):
    """lambda1 (s - t) + lambda2 (s - t)^2, of expected sparsity s and target t.

    The multipliers must be learned by gradient *ascent*: they grow for as long as the target is
    missed. The target rises linearly, so that gates close one after the other.

    Source: Wang, Wohlwend, Lei: Structured pruning of large language models, EMNLP 2020, arXiv
    1910.04732, section 3.3; the ramp as in DPHuBERT (Peng et al., Interspeech 2023).

    Args:
        target: sparsity at the end of the ramp.
        ramp_steps: steps in which it is reached; 0 for at once.
        start: sparsity at the beginning of the ramp. Factored matrices may start below 0.
    """

    def __init__(self, target: float, ramp_steps: int, *, start: float = 0.0) -> None:
        super().__init__()
        self.target, self.ramp_steps, self.start = target, ramp_steps, start
        self.lambda1 = nn.Parameter(torch.zeros(()))
        self.lambda2 = nn.Parameter(torch.zeros(()))

    def target_at(self, step: int) -> float:
        """Return the target of step `step`, counted from 0."""
        if step >= self.ramp_steps:
            return self.target
        return self.start + (self.target - self.start) * step / self.ramp_steps

    def penalty(self, expected_sparsity: Tensor, step: int) -> Tensor:
        """Return the scalar to be added to the loss."""
        missed = expected_sparsity - self.target_at(step)
        return self.lambda1 * missed + self.lambda2 * missed.square()
