"""Select the weights of largest magnitude over several matrices at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def largest(
    weights: Sequence[Tensor], count: int, scales: Sequence[float] | None = None
) -> list[Tensor]:
    """Return masks that are True for the `count` weights of largest magnitude.

    Zeros are never selected. Of weights with equal magnitude the first ones are selected.

    Args:
        weights: matrices of any shapes, compared with each other.
        count: number of weights to select.
        scales: factor by which the magnitudes of each matrix are multiplied before they are
            compared; 1 by default.
    """
    factors = [1.0] * len(weights) if scales is None else list(scales)
    threshold, ties = kth_largest(weights, count, factors)
    masks = []
    for weight, factor in zip(weights, factors, strict=True):
        strength = _strength(weight, factor)
        mask = strength > threshold
        equal = ((strength == threshold) & (strength > 0)).flatten().nonzero().flatten()[:ties]
        ties -= len(equal)
        mask.view(-1)[equal] = True
        masks.append(mask)
    return masks


def kth_largest(
    weights: Sequence[Tensor], count: int, scales: Sequence[float] | None = None
) -> tuple[float, int]:
    """Return the `count`-th largest magnitude, and how many weights of exactly that size to take.

    Bisects over the bit patterns of non-negative float32 numbers, which are in the same order as
    the numbers. This takes 31 passes that count, is exact, and sorts nothing: sorting 300 million
    weights would take gigabytes.
    """
    if count == 0:
        return float("inf"), 0
    factors = [1.0] * len(weights) if scales is None else scales

    def above(threshold: float) -> int:
        return sum(
            int((_strength(weight, factor) > threshold).sum())
            for weight, factor in zip(weights, factors, strict=True)
        )

    low, high = 0, int(np.float32(np.finfo(np.float32).max).view(np.int32))
    while low < high:  # the smallest value with fewer than `count` weights above it
        middle = (low + high) // 2
        if above(_float(middle)) < count:
            high = middle
        else:
            low = middle + 1
    return _float(low), count - above(_float(low))


def _strength(weight: Tensor, factor: float) -> Tensor:
    strength = weight.detach().abs().float()
    return strength if factor == 1.0 else strength * torch.tensor(factor, device=weight.device)


def _float(bits: int) -> float:
    return float(np.int32(bits).view(np.float32))
