"""GELU that saves memory traffic when no gradients are needed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """Return the exact GELU of `x`, which the caller must not use afterwards.

    Without gradients it is computed in place: the outputs of the first convolutions are so large
    that memory traffic dominates the time.
    """
    if torch.is_grad_enabled():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)
