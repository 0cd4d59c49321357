"""Meeting a sparsity target: the order of removals, and how many of them to carry out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..common.errors import InputError

TOLERANCE = 0.01
"""Largest accepted difference between the sparsity that is reached and the target."""

Counts = NDArray[np.int64]


class RemovalOrder:
    """The steps of several pruning schedules, merged into one order by their keys.

    Schedule i has one key per step: the total loss after that step (a distortion, a fraction of
    the units, an importance). Keys never fall within a schedule. Carrying out all steps below one
    threshold, common to all schedules, is therefore the same as taking a prefix of the merged
    order.

    Args:
        keys: the keys of each schedule, [steps] each.
    """

    def __init__(self, keys: Sequence[NDArray[np.float64]]) -> None:
        self.schedules = len(keys)
        schedule = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
        rising = [np.maximum.accumulate(own) if len(own) else own for own in keys]
        merged = np.concatenate(rising) if rising else np.zeros(0)
        self._schedule = schedule[np.argsort(merged, kind="stable")]

    def __len__(self) -> int:
        return len(self._schedule)

    def counts(self, steps: int) -> Counts:
        """Return how many steps of each schedule are among the first `steps`, [schedules]."""
        return np.bincount(self._schedule[:steps], minlength=self.schedules).astype(np.int64)


def find_sparsity(
    method: str,
    sparsity: float,
    total: int,
    order: RemovalOrder,
    parameters_after: Callable[[Counts], int],
) -> Counts:
    """Return the number of steps of each schedule with which the target is met most closely.

    Args:
        method: name of the method, for error messages.
        sparsity: fraction of `total` to remove.
        total: number of parameters that the encoder stores now.
        order: order in which steps are carried out.
        parameters_after: returns the number of parameters that remain after the given number of
            steps of each schedule; it must not increase with the number of steps.

    Raises:
        InputError: the target cannot be met within `TOLERANCE`; the message says which can.
    """

    def reached(steps: int) -> float:
        return 1 - parameters_after(order.counts(steps)) / total

    low, high = 0, len(order)
    maximum = reached(high)
    if maximum < sparsity - TOLERANCE:
        raise InputError(
            f"method {method}: sparsity {sparsity:g} cannot be reached on this model, where it "
            f"can remove at most {max(maximum, 0.0):.3f} of the parameters"
        )
    while low < high:
        middle = (low + high) // 2
        if reached(middle) < sparsity:
            low = middle + 1
        else:
            high = middle
    best = min((max(low - 1, 0), low), key=lambda steps: abs(reached(steps) - sparsity))
    if abs(reached(best) - sparsity) > TOLERANCE:
        raise InputError(
            f"method {method}: sparsity {sparsity:g} lies between two steps for this model; "
            f"choose {reached(max(low - 1, 0)):.3f} or {reached(low):.3f}"
        )
    return order.counts(best)
