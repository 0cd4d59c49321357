"""K-means over the rows of a weight matrix, and its distortion for every number of clusters.

The distortion curve D(K), inertia over total inertia, comes from one Ward tree per matrix
(Ward 1963): the height of a merge gives its contribution to the inertia, so one tree yields D(K)
for all K, where k-means would have to run once per K. A cut through the tree also initialises
Lloyd's iterations. In a mild compression, with few merges, it finds the rows that are closest to
each other, duplicates first, which random rows cannot. It costs one matrix product and one
hierarchical clustering; k-means++ with nearly as many clusters as rows costs far more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Start = Literal["ward", "random"]

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class WardTree:
    """The merges of n rows into one cluster, in ascending order of cost."""

    merges: NDArray[np.int64]
    """The two clusters that each merge joins, [n - 1, 2]; cluster n + i is made by merge i."""
    costs: NDArray[np.float64]
    """Increase of the inertia by each merge, ascending, [n - 1]."""

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.costs) + 1

    def cut(self, clusters: int) -> Labels:
        """Return the cluster of each row, numbered from 0, when `clusters` are left."""
        done = self.size - clusters
        parent = np.arange(self.size + done)
        for number, (one, other) in enumerate(self.merges[:done]):
            parent[one] = parent[other] = self.size + number
        for node in range(len(parent) - 1, -1, -1):  # parents have higher numbers
            parent[node] = parent[parent[node]]
        return np.unique(parent[: self.size], return_inverse=True)[1].astype(np.int64)


def ward_tree(rows: Tensor) -> WardTree:
    """Build the Ward tree of `rows` [n, d]; memory about 40 n^2 bytes."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    points = rows.detach().double()
    squares = points.square().sum(dim=1)
    gram = points @ points.t()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp_(min=0)
    # Identical rows have a small distance by rounding; treat distances of that size as zero.
    distances[distances <= 1e-13 * (squares[:, None] + squares[None, :])] = 0
    distances.fill_diagonal_(0)
    if len(points) < 2:
        return WardTree(np.zeros((0, 2), dtype=np.int64), np.zeros(0))
    condensed = squareform(distances.sqrt_().cpu().numpy(), checks=False)
    tree = linkage(condensed, method="ward")
    # scipy's height is sqrt(2 a b / (a + b)) times the centroids' distance: twice the cost,
    # squared.
    return WardTree(tree[:, :2].astype(np.int64), np.square(tree[:, 2]) / 2)


def distortion(trees: Sequence[WardTree]) -> NDArray[np.float64]:
    """Return inertia over total inertia after 1 to n - 1 merges in every one of `trees` at once.

    [n - 1] for trees of n rows each; all 0 where there is no inertia.
    """
    lost = np.sum([np.cumsum(tree.costs) for tree in trees], axis=0)
    return lost / lost[-1] if len(lost) and lost[-1] > 0 else np.zeros_like(lost)


def cluster(rows: Tensor, clusters: int, *, tree: WardTree | None, steps: int, seed: int) -> Labels:
    """Return the cluster of each of `rows` [n, d], numbered from 0 without gaps.

    Args:
        rows: the vectors to cluster.
        clusters: number of clusters K; the result can have fewer if random rows are duplicates.
        tree: Ward tree whose cut is the initialisation; None for K random rows.
        steps: largest number of Lloyd's iterations; with 0 the cut itself is returned.
        seed: random seed for choosing rows.
    """
    count = len(rows)
    if clusters >= count:
        return np.arange(count, dtype=np.int64)
    points = rows.detach().float().cpu().numpy()
    if tree is not None:
        labels = tree.cut(clusters)
        start = centroids(rows, labels).float().cpu().numpy()
    else:
        chosen = np.random.default_rng(seed).choice(count, size=clusters, replace=False)
        start = points[np.sort(chosen)]
    if steps == 0 and tree is not None:
        return labels
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    means = KMeans(clusters, init=start, n_init=1, max_iter=max(steps, 1), tol=0, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # few steps, or duplicate rows
        fitted = means.fit(points).labels_
    if tree is not None and len(np.unique(fitted)) < clusters:
        return labels  # k-means empties clusters among duplicates; the cut has all K
    return np.unique(fitted, return_inverse=True)[1].astype(np.int64)


def sums(rows: Tensor, labels: Labels) -> Tensor:
    """Return the sum of the members of each cluster, [K, d], in float64."""
    index = torch.from_numpy(labels).to(rows.device)
    total = torch.zeros(
        int(labels.max(initial=-1)) + 1, rows.shape[1], dtype=torch.float64, device=rows.device
    )
    return total.index_add_(0, index, rows.detach().double())


def sizes(labels: Labels, device: torch.device) -> Tensor:
    """Return the number of members of each cluster, [K], in float64."""
    return torch.from_numpy(np.bincount(labels)).to(device, torch.float64)


def centroids(rows: Tensor, labels: Labels) -> Tensor:
    """Return the mean of the members of each cluster, [K, d], in float64."""
    return sums(rows, labels) / sizes(labels, rows.device)[:, None]
