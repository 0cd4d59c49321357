from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.encoder import SpeechEncoder, dense_shape, random_encoder
from s3prl_compress.encoder.shape import Family
from s3prl_compress.errors import InputError
from s3prl_compress.methods.harden import Rounding, choose_units
from s3prl_compress.methods.masked import MaskedEncoder

from .small import reached
from .test_masked import EVERYTHING, random_gates

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


def shrunk(
    gated: MaskedEncoder, encoder: SpeechEncoder, sparsity: float, rounding: Rounding | None = None
) -> SpeechEncoder:
    gated.settle(choose_units(gated, encoder, "test", sparsity, rounding or Rounding()))
    return gated.shrunk()


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
    strength = gated.strength("ffn")
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
