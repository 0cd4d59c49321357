"""Groups of similar hidden states, which are distilled together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..common.errors import InputError


def linear_cka(states: Sequence[Tensor]) -> NDArray[np.float64]:
    """Return the similarity of each pair of hidden states, [states, states].

    This is linear centred kernel alignment, |Y^T X|^2 / (|X^T X| |Y^T Y|) of centred states. It
    is 1 if one is a rotated and scaled copy of the other, and 0 if they are uncorrelated.

    Args:
        states: hidden states of the same frames, [frames, width] each.

    Source: Kornblith et al., ICML 2019, arXiv 1905.00414.
    """
    centred = [state.double() - state.double().mean(0) for state in states]
    norms = [(own.T @ own).norm() for own in centred]
    similarity = np.eye(len(states))
    for one in range(len(states)):
        for other in range(one):
            shared = (centred[one].T @ centred[other]).square().sum()
            value = float(shared / (norms[one] * norms[other]))
            similarity[one, other] = similarity[other, one] = value
    return similarity


def similar_groups(similarity: NDArray[np.float64], groups: int) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of the states in `groups` groups of similar ones.

    They are found by hierarchical clustering with average linkage.

    Source: SKILL (Zampierin et al., arXiv 2402.16830) groups layers by hierarchical clustering
    over their similarity; the measure and the linkage are our choice.

    Raises:
        InputError: there are fewer states than groups.
    """
    if not 1 <= groups <= len(similarity):
        raise InputError(
            f"distillation: {len(similarity)} hidden states cannot make {groups} groups"
        )
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    merges = linkage(squareform(1 - similarity, checks=False), "average")
    labels = fcluster(merges, groups, "maxclust")
    members = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    return tuple(sorted(members))
