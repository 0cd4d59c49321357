from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering, KMeans

from s3prl_compress.methods.clustering.kmeans import centroids, cluster, distortion, ward_tree

from .inertia import inertia


def blobs(seed: int = 0, count: int = 80, width: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centers = 2 * torch.randn(12, width, generator=generator)
    noise = torch.randn(count, width, generator=generator)
    return centers[torch.randint(12, (count,), generator=generator)] + noise


@pytest.mark.parametrize("clusters", [1, 5, 30, 79])
def test_the_cut_is_scikit_learns(clusters: int) -> None:
    rows = blobs()
    expected = AgglomerativeClustering(clusters, linkage="ward").fit_predict(rows.numpy())
    assert inertia(rows, ward_tree(rows).cut(clusters)) == pytest.approx(
        inertia(rows, expected.astype(np.int64)), rel=1e-9
    )


@pytest.mark.parametrize("gone", [1, 20, 60, 79])
def test_the_tree_gives_the_distortion_of_every_cut(gone: int) -> None:
    rows = blobs()
    tree = ward_tree(rows)
    total = inertia(rows, np.zeros(80, dtype=np.int64))
    lost = inertia(rows, tree.cut(80 - gone)) / total
    assert distortion([tree])[gone - 1] == pytest.approx(lost, rel=1e-9)
    assert distortion([tree])[-1] == pytest.approx(1)


@pytest.mark.parametrize("clusters", [4, 40, 72])
def test_inertia_is_no_worse_than_scikit_learns_k_means(clusters: int) -> None:
    rows = blobs(width=20)
    labels = cluster(rows, clusters, tree=ward_tree(rows), steps=10, seed=0)
    theirs = KMeans(clusters, init="random", n_init=1, max_iter=10, random_state=0).fit(rows)
    # A fixed example: at few clusters another start may well be a little luckier.
    assert inertia(rows, labels) <= 1.02 * theirs.inertia_
    assert labels.max() + 1 == clusters


def test_lloyds_steps_lower_the_inertia() -> None:
    rows = blobs()
    tree = ward_tree(rows)
    before = inertia(rows, cluster(rows, 10, tree=tree, steps=0, seed=0))
    assert inertia(rows, cluster(rows, 10, tree=tree, steps=10, seed=0)) <= before


def test_the_random_start_follows_its_seed() -> None:
    rows = blobs()
    one, same, other = (cluster(rows, 9, tree=None, steps=1, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.integers(0, 3))
def test_duplicates_are_found_first(values: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    distinct = 100 * torch.randn(6, 4, generator=generator)
    rows = distinct[values]
    labels = cluster(rows, len(set(values)), tree=ward_tree(rows), steps=10, seed=0)
    assert len(set(zip(values, labels.tolist(), strict=True))) == len(set(values))
    assert torch.allclose(centroids(rows, labels)[torch.from_numpy(labels)].float(), rows)
