"""Which hidden states of an encoder are alike: groups that are distilled as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from ..common.errors import InputError


def linear_cka(states: Sequence[Tensor]) -> NDArray[np.float64]:
    """Return the similarity of every state [frames, width] with every other, [states, states].

    Linear centred kernel alignment, |Y^T X|^2 / (|X^T X| |Y^T Y|) of centred states: 1 where one
    is the other rotated and scaled, 0 where they have nothing in common.

    Source: Kornblith et al., ICML 2019, arXiv 1905.00414.
    """
    centred = [state.double() - state.double().mean(0) for state in states]
    norms = [(own.T @ own).norm() for own in centred]
    found = np.eye(len(states))
    for one in range(len(states)):
        for other in range(one):
            shared = (centred[one].T @ centred[other]).square().sum()
            found[one, other] = found[other, one] = float(shared / (norms[one] * norms[other]))
    return found


def similar_groups(similarity: NDArray[np.float64], groups: int) -> tuple[tuple[int, ...], ...]:
    """Return the states in so many groups, by hierarchical clustering with average linkage.

    Source: SKILL (Zampierin et al., arXiv 2402.16830) groups layers by hierarchical clustering
    over their similarity; the measure and the linkage are our choice.

    Raises:
        InputError: there are fewer states than groups.
    """
    if not 1 <= groups <= len(similarity):
        raise InputError(
            f"distillation: {len(similarity)} hidden states cannot make {groups} groups"
        )
    merges = linkage(squareform(1 - similarity, checks=False), "average")
    labels = fcluster(merges, groups, "maxclust")
    found = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return tuple(sorted(found))
