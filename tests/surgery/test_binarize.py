from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, dense_shape, random_encoder
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.shape import Family
from s3prl_compress.surgery.binarize import Rounding, choose_units
from s3prl_compress.surgery.gate_layout import GateKind
from s3prl_compress.surgery.masked import MaskedEncoder

from ..support.small import reached
from .test_masked import EVERYTHING, PUBLISHED, random_gates

FINE = {"qk": 0.01, "vo": 0.01, "ffn": 0.01}


def encoder_of(family: Family = "hubert", *, large: bool = False) -> SpeechEncoder:
    shape = dense_shape(
        family,
        hidden=32,
        layers=4,
        heads=2,
        ffn=96,
        conv_widths=(16,) * 7,
        position_kernel=8,
        position_groups=4,
        large=large,
    )
    return random_encoder(shape, 0)


def soft_gates(encoder: SpeechEncoder) -> MaskedEncoder:
    """Return DPHuBERT's gates, whose log_alpha rise evenly from -3 to 2 in each module."""
    gated = MaskedEncoder(encoder, PUBLISHED, straight_through=False)
    for kind in gated.gates:
        parts = [torch.linspace(-3, 2, size) for size in gated.sizes[kind]]
        gated.gate(kind).log_alpha.data.copy_(torch.cat(parts))
    return gated


def counts(gated: MaskedEncoder, kept: dict[GateKind, torch.Tensor]) -> dict[str, list[int]]:
    """Return how many units stay in each layer, of each kind of gates."""
    return {
        kind: [int(part.sum()) for part in own.split(gated.sizes[kind])]
        for kind, own in kept.items()
    }


def shrunk(
    gated: MaskedEncoder, encoder: SpeechEncoder, sparsity: float, rounding: Rounding | None = None
) -> SpeechEncoder:
    gated.set_gates(choose_units(gated, encoder, "test", sparsity, rounding or Rounding()))
    return gated.pruned()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_target_is_met_within_a_percent(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(["hubert", "wav2vec2", "wavlm"]))
    encoder = encoder_of(family, large=data.draw(st.booleans()))
    drops = EVERYTHING if data.draw(st.booleans()) else FINE
    gated = random_gates(
        encoder,
        drops,
        data.draw(st.integers(0, 1000)),
        straight_through=data.draw(st.booleans()),
        openness=data.draw(st.floats(-3, 3)),
    )
    sparsity = data.draw(st.floats(0.1, 0.6))
    assert reached(shrunk(gated, encoder, sparsity), encoder) == pytest.approx(sparsity, abs=0.01)


def test_the_strongest_units_stay() -> None:
    encoder = encoder_of()
    gated = random_gates(encoder, {"ffn": 0.5}, 0, straight_through=True)
    kept = choose_units(gated, encoder, "test", 0.3)["ffn"]
    strength = gated.log_alpha("ffn")
    assert float(strength[kept].min()) >= float(strength[~kept].max())


def test_heads_and_blocks_go_with_their_own_gates() -> None:
    encoder = encoder_of()
    gated = random_gates(encoder, EVERYTHING, 0, straight_through=True, openness=3.0)
    with torch.no_grad():
        for gate in gated.gates.values():
            gate.log_alpha.abs_()
        gated.gates["attention"].log_alpha[1] = -1.0
        gated.gates["ffn_block"].log_alpha[2] = -1.0
        gated.gates["head"].log_alpha[0] = -1.0
    layers = shrunk(gated, encoder, 0.4).shape.layers
    assert layers[1].heads == ()
    assert layers[2].ffn == 0
    assert [head.original for head in layers[0].heads] == [1]


def test_gates_that_overshot_cost_no_more_than_the_target() -> None:
    """All are closed, some blocks hardly more than others: those must stay."""
    encoder = encoder_of()
    gated = random_gates(encoder, EVERYTHING, 0, straight_through=True, openness=-20.0)
    with torch.no_grad():
        gated.gates["ffn_block"].log_alpha.copy_(torch.tensor([-10.0, -10.0, -10.0, -40.0]))
        gated.gates["attention"].log_alpha.fill_(-10.0)
        gated.gates["head"].log_alpha.fill_(-10.0)
    small = shrunk(gated, encoder, 0.3)
    assert reached(small, encoder) == pytest.approx(0.3, abs=0.01)
    assert [layer.ffn > 0 for layer in small.shape.layers] == [True, True, True, False]
    assert all(len(layer.heads) == 2 for layer in small.shape.layers)


@pytest.mark.parametrize("equal_heads", [False, True])
def test_heads_in_multiples(equal_heads: bool) -> None:
    encoder = encoder_of()
    gated = random_gates(encoder, FINE, 0, straight_through=True)
    small = shrunk(gated, encoder, 0.3, Rounding(8, 4, equal_heads))
    for layer in small.shape.layers:
        assert layer.ffn % 8 == 0
        assert all(head.qk % 4 == head.vo % 4 == 0 for head in layer.heads)
        if equal_heads:
            assert len({(head.qk, head.vo) for head in layer.heads}) <= 1
    assert reached(small, encoder) == pytest.approx(0.3, abs=0.01)


def test_a_target_beyond_reach() -> None:
    encoder = encoder_of()
    gated = random_gates(encoder, {"qk": 0.5}, 0, straight_through=True)
    with pytest.raises(InputError, match="at most"):
        choose_units(gated, encoder, "structured", 0.9)


# Figures of DPHuBERT's own code, github.com/pyf98/DPHuBERT at commit
# c18093fe4b56a0027a80bf9b9b1a23f932cbf14c: wav2vec2_model() of wav2vec2/model.py with the sizes of
# `encoder_of` and the pruning units conv, head and interm; `get_num_params()` against the
# parameters of the model without pruning units, then `prune()`.
PUBLISHED_START = {False: 49528 - 45277.90, True: 49832 - 45581.28}  # by `large`
PUBLISHED_RISING = {False: 49528 - 32117.45, True: 49832 - 32322.61}  # of `soft_gates`
PUBLISHED_COUNTS = {"conv": [11] * 7, "head": [1] * 4, "ffn": [65] * 4}  # of `soft_gates`


@pytest.mark.parametrize("large", [False, True])
def test_soft_gates_expect_to_lose_as_many_parameters_as_published(large: bool) -> None:
    encoder = encoder_of(large=large)
    gated = MaskedEncoder(encoder, PUBLISHED, straight_through=False)
    for expected in (PUBLISHED_START, PUBLISHED_RISING):
        lost = float(gated.expected_sparsity().detach()) * nonzero_parameters(encoder)
        # Its models also have a scale of the last convolution's 16 channels.
        assert lost == pytest.approx(expected[large], rel=1e-3)
        gated = soft_gates(encoder)


def test_soft_gates_keep_the_published_number_of_units_in_each_module() -> None:
    encoder = encoder_of()
    gated = soft_gates(encoder).eval()
    assert counts(gated, gated.kept()) == PUBLISHED_COUNTS
    target = reached(gated.pruned(), encoder)
    kept = choose_units(gated, encoder, "dphubert", target)
    assert counts(gated, kept) == PUBLISHED_COUNTS
    for kind, own in gated.kept().items():
        assert torch.equal(own, kept[kind])


@pytest.mark.parametrize("sparsity", [0.2, 0.4, 0.6])
def test_one_shift_of_all_soft_gates_meets_the_target(sparsity: float) -> None:
    encoder = encoder_of()
    gated = random_gates(encoder, PUBLISHED, 0, straight_through=False).eval()
    kept = choose_units(gated, encoder, "dphubert", sparsity)
    assert all(own.device.type == "cpu" for own in kept.values())
    found = counts(gated, kept)
    starts = {kind: gated.log_alpha(kind).clone() for kind in kept}
    differences = []
    for shift in torch.linspace(-8, 8, 1601).tolist():
        for kind, start in starts.items():
            gated.gate(kind).log_alpha.data.copy_(start + shift)
        shifted = counts(gated, gated.kept())
        differences.append(
            sum(abs(a - b) for k in found for a, b in zip(found[k], shifted[k], strict=True))
        )
    # Fine units go further than heads, of which each is 4 % of this encoder.
    assert min(differences) <= 6
    for kind, own in kept.items():  # the strongest of each module
        for part, start in zip(
            own.split(gated.sizes[kind]), starts[kind].split(gated.sizes[kind]), strict=True
        ):
            assert (
                not len(start[part])
                or not len(start[~part])
                or (start[part].min() >= start[~part].max())
            )
