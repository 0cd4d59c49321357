"""Meeting a target: the order in which things go, and how many of them must."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..common.errors import InputError

TOLERANCE = 0.01
"""How far the sparsity that is reached may be from the target."""

Counts = NDArray[np.int64]


class RemovalOrder:
    """Steps of several queues merged into one order by a key that never falls within a queue.

    Queue i has one key per step: what has been lost once that step is done (a distortion, a
    fraction of the units, an importance). Going up to one threshold for all queues, which a
    bisection would look for, is the same as taking a prefix of the merged order.
    """

    def __init__(self, keys: Sequence[NDArray[np.float64]]) -> None:
        self.queues = len(keys)
        queue = np.repeat(np.arange(len(keys)), [len(own) for own in keys])
        rising = [np.maximum.accumulate(own) if len(own) else own for own in keys]
        merged = np.concatenate(rising) if rising else np.zeros(0)
        self._queue = queue[np.argsort(merged, kind="stable")]

    def __len__(self) -> int:
        return len(self._queue)

    def counts(self, steps: int) -> Counts:
        """Return how many steps of each queue are among the first `steps`."""
        return np.bincount(self._queue[:steps], minlength=self.queues).astype(np.int64)


def find_sparsity(
    method: str,
    sparsity: float,
    total: int,
    order: RemovalOrder,
    parameters_after: Callable[[Counts], int],
) -> Counts:
    """Return the steps per queue that come closest to the target.

    Args:
        method: for the error messages.
        sparsity: fraction of `total` that shall go.
        total: parameters that the encoder stores now.
        order: of the steps.
        parameters_after: parameters that it would store after that many steps of each queue; it
            must not grow with more steps.

    Raises:
        InputError: the target cannot be met within `TOLERANCE`; the message names what can.
    """

    def reached(steps: int) -> float:
        return 1 - parameters_after(order.counts(steps)) / total

    low, high = 0, len(order)
    maximum = reached(high)
    if maximum < sparsity - TOLERANCE:
        raise InputError(
            f"method {method}: sparsity {sparsity:g} cannot be reached on this encoder, where it "
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
            f"method {method}: sparsity {sparsity:g} lies between two steps on this encoder; "
            f"choose {reached(max(low - 1, 0)):.3f} or {reached(low):.3f}"
        )
    return order.counts(best)
