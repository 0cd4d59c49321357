from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def inertia(rows: Tensor, labels: NDArray[np.int64]) -> float:
    """Return the summed squared distance of `rows` [n, d] from their clusters' means."""
    points = rows.detach().double().numpy()
    parts = [points[labels == label] for label in np.unique(labels)]
    return float(sum(np.square(part - part.mean(axis=0)).sum() for part in parts))
