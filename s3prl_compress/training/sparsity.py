"""A Lagrangian with learned multipliers that drives gates to a target sparsity."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SparsityLagrangian(nn.Module):
    """lambda1 (s - t) + lambda2 (s - t)^2, for the expected sparsity s and the target t.

    The multipliers must be trained by gradient *ascent*: they grow as long as the target is
    missed. The target rises linearly, so that gates close gradually.

    Source: Wang, Wohlwend, Lei: Structured pruning of large language models, EMNLP 2020, arXiv
    1910.04732, section 3.3; the ramp as in DPHuBERT (Peng et al., Interspeech 2023).

    Args:
        target: target sparsity at the end of the ramp.
        ramp_steps: number of updates in which it is reached; 0 for immediately.
        start: target sparsity at the beginning of the ramp; below 0 for factored matrices that
            start with more parameters than the dense ones.
    """

    def __init__(self, target: float, ramp_steps: int, *, start: float = 0.0) -> None:
        super().__init__()
        self.target, self.ramp_steps, self.start = target, ramp_steps, start
        self.lambda1 = nn.Parameter(torch.zeros(()))
        self.lambda2 = nn.Parameter(torch.zeros(()))

    def target_at(self, step: int) -> float:
        """Return the target sparsity of update `step`, counted from 0."""
        if step >= self.ramp_steps:
            return self.target
        return self.start + (self.target - self.start) * step / self.ramp_steps

    def penalty(self, expected_sparsity: Tensor, step: int) -> Tensor:
        """Return the term to add to the loss, a scalar."""
        missed = expected_sparsity - self.target_at(step)
        return self.lambda1 * missed + self.lambda2 * missed.square()
