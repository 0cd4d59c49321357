from __future__ import annotations

import pytest
import torch

from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, macs, random_encoder
from s3prl_compress.encoder.cost import nonzero_parameters, parameters, stored_bytes
from s3prl_compress.encoder.linear import SparseLinear, dense_weight
from s3prl_compress.methods import compress
from s3prl_compress.surgery.channels import groups_of, importance
from s3prl_compress.surgery.rebuild import get_linear

from ..support.small import reached, small_encoder, speech, states

PLACES = [(layer, name) for layer in range(2) for name in ("q", "k", "v", "out", "fc1", "fc2")]


@pytest.fixture(scope="module")
def tiny() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.mark.parametrize("sparsity", [0.02, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_targets_are_met(
    tiny: SpeechEncoder, granularity: str, scope: str, sparsity: float
) -> None:
    smaller = compress(tiny, "magnitude", granularity=granularity, scope=scope, sparsity=sparsity)
    assert abs(reached(smaller, tiny) - sparsity) <= 0.01
    if granularity == "weight":
        assert parameters(smaller) == parameters(tiny)
    else:
        assert parameters(smaller) == nonzero_parameters(smaller)
        assert macs(smaller.shape, [16_000]) < macs(tiny.shape, [16_000])
    assert stored_bytes(smaller) < stored_bytes(tiny)


def test_a_global_threshold_drops_exactly_the_smallest_weights(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "magnitude", granularity="weight", scope="global", sparsity=0.4)
    before = torch.cat([dense_weight(get_linear(tiny, *place)).flatten() for place in PLACES])
    after = torch.cat([dense_weight(get_linear(smaller, *place)).flatten() for place in PLACES])
    kept = int((after != 0).sum())
    threshold = before.abs().sort(descending=True).values[kept - 1]
    assert torch.equal(after, torch.where(before.abs() >= threshold, before, 0.0))


def test_scope_layer_gives_every_linear_the_same_sparsity(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "magnitude", granularity="weight", sparsity=0.4)
    density = []
    for place in PLACES:
        linear = get_linear(smaller, *place)
        assert isinstance(linear, SparseLinear)
        density.append(len(linear.values) / (linear.in_features * linear.out_features))
    assert max(density) - min(density) < 0.002


def test_a_second_pruning_goes_on_where_the_first_ended(tiny: SpeechEncoder) -> None:
    once = compress(tiny, "magnitude", granularity="weight", scope="global", sparsity=0.36)
    half = compress(tiny, "magnitude", granularity="weight", scope="global", sparsity=0.2)
    twice = compress(half, "magnitude", granularity="weight", scope="global", sparsity=0.2)
    for place in PLACES:
        one, other = get_linear(once, *place), get_linear(twice, *place)
        assert ((dense_weight(one) != 0) != (dense_weight(other) != 0)).sum() <= 1


def test_the_weakest_units_go_and_the_others_stay_as_they_are() -> None:
    encoder = small_encoder()
    with torch.no_grad():
        for layer in range(2):
            get_linear(encoder, layer, "fc1").weight[[1, 4]] *= 1e-3  # type: ignore[union-attr, index, operator]
    # Two units of two layers, each a row with its bias and a column.
    sparsity = 2 * 2 * (24 + 1 + 24) / nonzero_parameters(encoder)
    smaller = compress(encoder, "magnitude", sparsity=sparsity, units="ffn")
    weight = get_linear(encoder, 0, "fc1").weight[[0, 2, 3, 5, 6, 7, 8, 9]]  # type: ignore[union-attr, index]
    assert smaller.shape.layers[0].ffn == 8
    assert torch.equal(dense_weight(get_linear(smaller, 0, "fc1")), weight)


def test_heads_of_a_layer_keep_one_size_in_scope_layer(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "magnitude", sparsity=0.3)
    for layer in smaller.shape.layers:
        assert len({(head.qk, head.vo) for head in layer.heads}) == 1


@torch.no_grad()
def test_importance_is_the_product_of_both_norms() -> None:
    encoder = small_encoder()
    group = next(g for g in groups_of(encoder.shape, ("vo",)) if (g.layer, g.head) == (1, 2))
    value = dense_weight(get_linear(encoder, 1, "v"))[16:24]
    out = dense_weight(get_linear(encoder, 1, "out"))[:, 16:24]
    expected = [float(value[d].norm() * out[:, d].norm()) for d in range(8)]
    assert importance(encoder, group).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_convolutions_shrink_when_asked_for(layer_norm: bool) -> None:
    encoder = small_encoder(layer_norm=layer_norm)
    smaller = compress(encoder, "magnitude", sparsity=0.06, units="conv", scope="global")
    assert sum(conv.width for conv in smaller.shape.convs) < 40
    assert abs(reached(smaller, encoder) - 0.06) <= 0.01
    assert all(torch.isfinite(state).all() for state in states(smaller, speech(3000))[0])


def test_sizes_become_multiples() -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_small"])
    smaller = compress(encoder, "magnitude", sparsity=0.15, multiple=8)
    assert abs(reached(smaller, encoder) - 0.15) <= 0.01
    sizes = {head.vo for layer in smaller.shape.layers for head in layer.heads}
    sizes |= {layer.ffn for layer in smaller.shape.layers}
    assert len(sizes) > 1
    assert all(size % 8 == 0 for size in sizes)


def test_whole_heads_of_smallest_magnitude_are_removed() -> None:
    encoder = small_encoder()
    with torch.no_grad():
        for layer, head in ((0, 1), (1, 2)):  # 8 rows each
            get_linear(encoder, layer, "v").weight[8 * head : 8 * head + 8] *= 0.01  # type: ignore[union-attr]
    before = nonzero_parameters(encoder)
    one_head = 4 * 8 * 24 + 3 * 8
    smaller = compress(encoder, "magnitude", units="head", sparsity=2 * one_head / before)
    assert [[head.original for head in layer.heads] for layer in smaller.shape.layers] == [
        [0, 2],
        [0, 1],
    ]
    assert nonzero_parameters(smaller) == before - 2 * one_head


def test_heads_and_their_dimensions_can_be_removed_together(tiny: SpeechEncoder) -> None:
    smaller = compress(tiny, "magnitude", units="head,vo,ffn", scope="global", sparsity=0.41)
    assert abs(reached(smaller, tiny) - 0.41) <= 0.01
    assert all(layer.heads for layer in smaller.shape.layers)
