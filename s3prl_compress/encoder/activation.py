"""GELU, in place where nothing can notice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gelu(x: Tensor) -> Tensor:
    """Return the exact GELU of `x`, which must be a temporary of the caller.

    Without gradients it is computed in place: after the first convolutions the tensors are so
    large that the time goes into memory traffic.
    """
    if torch.is_grad_enabled():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)
