"""The largest of many weights, over all matrices at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def largest(
    weights: Sequence[Tensor], count: int, scales: Sequence[float] | None = None
) -> list[Tensor]:
    """Return masks, True for the `count` weights of largest magnitude over all of `weights`.

    Weights that are zero are never among them. Of equal ones the first are taken.

    Args:
        weights: of any sizes.
        count: how many of them.
        scales: a factor for the magnitudes of each of `weights`, in which they are compared.
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

    By bisection over the bit patterns of float32, which rise with the number they stand for:
    31 counts, exact, and nothing is copied or sorted (a sort of 300 million weights would take
    gigabytes).
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
