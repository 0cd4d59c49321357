from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, macs, random_encoder
from s3prl_compress.encoder.cost import nonzero_parameters, stored_bytes
from s3prl_compress.encoder.linear import SharedLinear, dense_bias, dense_weight
from s3prl_compress.encoder.shape import LINEARS
from s3prl_compress.methods import compress
from s3prl_compress.methods.clustering.fold import channel_rows, fold_units
from s3prl_compress.methods.clustering.kmeans import cluster, ward_tree
from s3prl_compress.surgery.channels import ChannelGroup, groups_of
from s3prl_compress.surgery.rebuild import get_linear

from ...support.small import assert_same, reached, small_encoder, speech
from .inertia import inertia

FIRST = {"ffn": ("fc1",), "qk": ("q", "k"), "vo": ("v",)}


@pytest.fixture(scope="module")
def tiny() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.mark.parametrize("sparsity", [0.03, 0.1, 0.25, 0.5])
@pytest.mark.parametrize("allocation", ["mixed", "uniform"])
@pytest.mark.parametrize("form", ["fold", "share"])
def test_targets_are_met(tiny: SpeechEncoder, form: str, allocation: str, sparsity: float) -> None:
    smaller = compress(tiny, form=form, allocation=allocation, sparsity=sparsity)
    assert abs(reached(smaller, tiny) - sparsity) <= 0.01
    assert macs(smaller.shape, [16_000]) < macs(tiny.shape, [16_000])
    assert stored_bytes(smaller) < stored_bytes(tiny)


def duplicate(encoder: SpeechEncoder, group: ChannelGroup, sources: list[int]) -> None:
    """Make channel i of a group the same as channel `sources[i]`, going in."""
    rows = slice(group.start, group.start + group.size)
    with torch.no_grad():
        for name in FIRST[group.kind]:
            linear = get_linear(encoder, group.layer, name)
            for tensor in (linear.weight, linear.bias):  # type: ignore[union-attr]
                tensor[rows] = tensor[rows][sources].clone()


@pytest.mark.parametrize("kind", ["ffn", "qk", "vo"])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_duplicates_fold_exactly(family: str, kind: str, data: st.DataObject) -> None:
    encoder = small_encoder(family, pre_norm=data.draw(st.booleans()))  # type: ignore[arg-type]
    labels = {}
    for group in groups_of(encoder.shape, (kind,)):  # type: ignore[arg-type]
        sources = data.draw(
            st.lists(st.integers(0, group.size - 1), min_size=group.size, max_size=group.size)
        )
        duplicate(encoder, group, sources)
        rows = channel_rows(encoder, group)
        size = len(set(sources))
        labels[group] = cluster(rows, size, tree=ward_tree(rows), steps=10, seed=0)
        assert labels[group].max() + 1 == size
    folded = fold_units(encoder, labels)
    assert_same(folded, encoder, speech(3000))
    assert_same(folded, encoder, speech(4000, 1000))


def test_a_target_that_duplicates_meet_changes_nothing() -> None:
    encoder = small_encoder()
    gone = 0
    for group in groups_of(encoder.shape, ("ffn",)):
        duplicate(encoder, group, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
        gone += 5 * (24 + 1 + 24)
    smaller = compress(encoder, units="ffn", sparsity=gone / nonzero_parameters(encoder))
    assert [layer.ffn for layer in smaller.shape.layers] == [5, 5]
    assert_same(smaller, encoder, speech(3000))


def test_mean_and_sum_swapped_would_be_another_function() -> None:
    encoder = small_encoder()
    group = groups_of(encoder.shape, ("ffn",))[0]
    duplicate(encoder, group, [0, 0, 0, 0, 0, 5, 5, 5, 5, 5])
    rows = channel_rows(encoder, group)
    labels = cluster(rows, 2, tree=ward_tree(rows), steps=10, seed=0)
    folded = fold_units(encoder, {group: labels})
    for linear in (get_linear(folded, 0, "fc1"), get_linear(folded, 0, "fc2")):
        linear.weight.data *= 5 if linear.weight.shape[0] == 2 else 0.2  # type: ignore[union-attr, operator]
    with pytest.raises(AssertionError, match="state 1"):
        assert_same(folded, encoder, speech(3000))


def test_folding_an_ffn_is_sharing_its_first_linear() -> None:
    encoder = small_encoder()
    fold = compress(encoder, form="fold", units="ffn", allocation="uniform", sparsity=0.06)
    shared_rows = sum(10 - layer.ffn for layer in fold.shape.layers) * (24 + 1)
    share = compress(
        encoder,
        form="share",
        linears="fc1",
        allocation="uniform",
        sparsity=shared_rows / nonzero_parameters(encoder),
    )
    assert_same(fold, share, speech(3000))


def test_what_is_low_rank_already_folds_too() -> None:
    encoder = compress(small_encoder(), "low_rank", sparsity=0.06, linears="fc1,fc2")
    smaller = compress(encoder, sparsity=0.1)
    assert abs(reached(smaller, encoder) - 0.1) <= 0.01
    kinds = {getattr(layer, name).kind for layer in smaller.shape.layers for name in LINEARS}
    assert kinds == {"dense", "low_rank"}


def test_shared_rows_are_the_means_of_their_members(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, form="share", sparsity=0.3)
    linear, original = get_linear(smaller, 1, "out"), get_linear(tiny, 1, "out")
    assert isinstance(linear, SharedLinear)
    members = linear.assignment == 0
    assert torch.allclose(linear.centroids[0], dense_weight(original)[members].mean(dim=0))
    assert torch.allclose(linear.centroid_bias[0], dense_bias(original)[members].mean())


def test_mixed_gives_more_clusters_to_what_clusters_badly() -> None:
    encoder = small_encoder()
    group = groups_of(encoder.shape, ("ffn",))[0]
    duplicate(encoder, group, [0, 0, 0, 0, 0, 5, 5, 5, 5, 5])
    mixed = compress(encoder, units="ffn", sparsity=0.04)
    assert mixed.shape.layers[0].ffn < mixed.shape.layers[1].ffn == 10
    uniform = compress(encoder, units="ffn", sparsity=0.04, allocation="uniform")
    assert abs(uniform.shape.layers[0].ffn - uniform.shape.layers[1].ffn) <= 1


def test_heads_of_a_layer_keep_one_size(tiny: SpeechEncoder) -> None:
    for layer in compress(tiny, sparsity=0.3).shape.layers:
        assert len({(head.qk, head.vo) for head in layer.heads}) == 1


def test_no_channel_moves_to_another_head() -> None:
    encoder = small_encoder()
    groups = [g for g in groups_of(encoder.shape, ("vo",)) if g.layer == 0 and g.head == 1]
    rows = channel_rows(encoder, groups[0])
    labels = cluster(rows, 3, tree=ward_tree(rows), steps=10, seed=0)
    folded = fold_units(encoder, {groups[0]: labels})
    assert [head.vo for head in folded.shape.layers[0].heads] == [8, 3, 8]
    before, after = (
        dense_weight(get_linear(encoder, 0, "v")),
        dense_weight(get_linear(folded, 0, "v")),
    )
    assert torch.equal(after[:8], before[:8])
    assert torch.equal(after[11:], before[16:])
    assert inertia(rows, labels) > 0


def test_the_random_start_is_another_clustering_of_the_same_size(tiny: SpeechEncoder) -> None:
    ward, random = compress(tiny, sparsity=0.2), compress(tiny, sparsity=0.2, start="random")
    assert ward.shape == random.shape
    one, other = (dense_weight(get_linear(encoder, 0, "fc1")) for encoder in (ward, random))
    assert not torch.equal(one, other)


def test_sizes_become_multiples() -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_small"])
    smaller = compress(encoder, sparsity=0.15, multiple=8)
    assert abs(reached(smaller, encoder) - 0.15) <= 0.01
    sizes = {head.vo for layer in smaller.shape.layers for head in layer.heads}
    sizes |= {layer.ffn for layer in smaller.shape.layers}
    assert len(sizes) > 1
    assert all(size % 8 == 0 for size in sizes)
