from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, fingerprint
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.shape import EncoderShape
from s3prl_compress.methods import compress
from s3prl_compress.surgery.binarize import choose_units
from s3prl_compress.surgery.channels import UnitKind, groups_of, importance
from s3prl_compress.surgery.cutting import select_units
from s3prl_compress.surgery.gate_layout import GateKind, selection_of_gates
from s3prl_compress.surgery.masked import MaskedEncoder

from ..support.small import assert_same, small_encoder, small_shape, speech
from .masked import masked as masked_by_hooks

EVERYTHING = dict.fromkeys(("qk", "vo", "head", "attention", "ffn", "ffn_block", "conv"), 0.5)
PUBLISHED = {"conv": 0.01, "head": 0.01, "ffn": 0.5}


def random_gates(
    encoder: SpeechEncoder, drops: dict, seed: int, *, straight_through: bool, openness: float = 0.5
) -> MaskedEncoder:
    """Return a masked encoder with random gates, of which each convolution has an open one."""
    gated = MaskedEncoder(encoder, drops, straight_through=straight_through)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for kind, gate in gated.gates.items():
            noise = torch.randn(gate.log_alpha.shape, generator=generator)
            gate.log_alpha.copy_(2 * noise + openness)
            if kind == "conv":
                starts = torch.tensor([0, *gated.sizes["conv"]]).cumsum(0)[:-1]
                gate.log_alpha[starts[starts < len(gate.log_alpha)]] = 10.0
    return gated


@pytest.mark.parametrize("straight_through", [True, False])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_masked_in_eval_mode_is_shrunk(straight_through: bool, data: st.DataObject) -> None:
    encoder = small_encoder(
        data.draw(st.sampled_from(["hubert", "wav2vec2", "wavlm"])),
        layer_norm=data.draw(st.booleans()),
        pre_norm=data.draw(st.booleans()),
    )
    kinds = data.draw(st.sets(st.sampled_from(sorted(EVERYTHING)), min_size=1))
    drops = {kind: EVERYTHING[kind] for kind in sorted(kinds)}
    seed = data.draw(st.integers(0, 1000))
    gated = random_gates(encoder, drops, seed, straight_through=straight_through).eval()
    shrunk = gated.pruned()
    for waveforms in (speech(3000), speech(1500, 4000)):
        assert_same(shrunk, gated, waveforms)  # type: ignore[arg-type]
        if straight_through:
            selection = selection_of_gates(encoder.shape, gated.kept())
            assert_same(shrunk, masked_by_hooks(encoder, selection), waveforms)


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("straight_through", [True, False])
def test_expected_sparsity_is_exact_where_gates_are_certain(
    family: str, layer_norm: bool, straight_through: bool
) -> None:
    encoder = small_encoder(family, layer_norm=layer_norm)  # type: ignore[arg-type]
    gated = random_gates(encoder, EVERYTHING, 3, straight_through=straight_through, openness=1.0)
    kept = gated.kept()
    # A head that lost all of its (v, out) dimensions goes, which no gate says.
    kept["vo"] |= True
    with torch.no_grad():
        for kind, gate in gated.gates.items():
            gate.log_alpha.copy_(torch.where(kept[kind], 30.0, -30.0))  # type: ignore[index]
    shrunk = select_units(encoder, selection_of_gates(encoder.shape, kept))
    expected = 1 - nonzero_parameters(shrunk) / nonzero_parameters(encoder)
    assert float(gated.expected_sparsity().detach()) == pytest.approx(expected, abs=1e-5)


def test_open_gates_change_nothing() -> None:
    encoder = small_encoder("wavlm", layer_norm=True)
    before = fingerprint(encoder)
    gated = MaskedEncoder(encoder, EVERYTHING, straight_through=True)
    for gate in gated.gates.values():
        torch.nn.init.constant_(gate.log_alpha, 30.0)
    for mode in (True, False):
        assert_same(gated.train(mode), encoder, speech(1500, 4000))  # type: ignore[arg-type]
    assert fingerprint(gated.pruned()) == before == fingerprint(encoder)
    assert float(gated.expected_sparsity().detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("straight_through", [True, False])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_every_gate_learns(layer_norm: bool, straight_through: bool) -> None:
    """Closed ones too, as long as they are not sure of it."""
    torch.manual_seed(0)
    encoder = small_encoder(layer_norm=layer_norm)
    gated = MaskedEncoder(encoder, EVERYTHING, straight_through=straight_through)
    for gate in gated.gates.values():
        torch.nn.init.constant_(gate.log_alpha, 0.0)
    weights = [torch.randn(24) for _ in range(3)]
    learned = {kind: torch.zeros(len(gate.log_alpha)) for kind, gate in gated.gates.items()}
    for _ in range(30):
        states, _ = gated(speech(3000))
        sum((state * w).sum() for state, w in zip(states, weights, strict=True)).backward()
    for kind, gate in gated.gates.items():
        learned[kind] = gate.log_alpha.grad
        assert float((gate.log_alpha.grad.abs() > 0).float().mean()) > 0.8, kind
    assert encoder.encoder.layers[0].attention.q_proj.weight.grad is None


def test_fixed_gates_keep_what_was_chosen() -> None:
    encoder = small_encoder()
    for straight_through in (True, False):
        gated = random_gates(encoder, PUBLISHED, 1, straight_through=straight_through)
        wanted = {kind: torch.rand(len(own)) < 0.5 for kind, own in gated.kept().items()}
        gated.set_gates(wanted)
        for kind, own in gated.kept().items():
            assert torch.equal(own, wanted[kind])


@pytest.mark.parametrize("straight_through", [True, False])
def test_units_are_fixed_on_the_device_of_the_gates(straight_through: bool) -> None:
    """Of several processes each trains on a GPU of its own; what stays is chosen on the CPU.

    torch refuses to mix tensors of the device "meta" with others, as it does with those of GPUs.
    """
    encoder = small_encoder()
    gated = random_gates(encoder, PUBLISHED, 1, straight_through=straight_through)
    chosen = choose_units(gated, encoder, "test", 0.1)
    gated.to("meta")
    gated.set_gates(chosen)
    gates = {kind: gated.gate(kind).eval()() for kind in gated.gates}
    assert {own.device.type for own in (*gates.values(), *gated.kept().values())} == {"meta"}


def test_without_a_projection_the_last_convolution_has_no_gates() -> None:
    shape = small_shape()
    convs = (*shape.convs[:-1], shape.convs[-1].model_copy(update={"width": 24}))
    shape = EncoderShape.model_validate(
        shape.model_copy(update={"projection": False, "convs": convs}).model_dump()
    )
    encoder = SpeechEncoder(shape)
    for straight_through in (True, False):
        gated = random_gates(encoder, {"conv": 0.5}, 2, straight_through=straight_through).eval()
        assert len(gated.gates["conv"].log_alpha) == sum(conv.width for conv in convs[:-1])
        assert_same(gated.pruned(), gated, speech(3000))  # type: ignore[arg-type]


def test_units_are_pruned_before_they_are_factored() -> None:
    factored = compress(small_encoder(), "low_rank", sparsity=0.25)
    with pytest.raises(InputError, match="methods with gates need dense linears"):
        MaskedEncoder(factored, EVERYTHING, straight_through=True)


def test_gates_of_strong_units_start_ahead() -> None:
    encoder = small_encoder("hubert")
    gated = MaskedEncoder(encoder, EVERYTHING, straight_through=True)
    gated.init_gates_by_magnitude(2.0)
    kinds: tuple[UnitKind, ...] = ("qk", "vo", "ffn")
    for kind in kinds:
        groups = groups_of(encoder.shape, (kind,))
        parts = gated.log_alpha(kind).split([group.size for group in groups])
        for group, own in zip(groups, parts, strict=True):
            strength = importance(encoder, group)
            assert torch.equal(own.argsort(), strength.argsort())
            assert own.mean().abs() < 1e-5  # drop is 0.5: log_alpha was 0
            assert own.std(correction=0) == pytest.approx(2.0, rel=1e-4)
    coarse: tuple[GateKind, ...] = ("head", "attention", "ffn_block", "conv")
    for other in coarse:
        assert not gated.log_alpha(other).any()
