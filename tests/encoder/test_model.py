from __future__ import annotations

import copy

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import (
    NAMED_SHAPES,
    EncoderShape,
    HeadShape,
    LayerShape,
    SpeechEncoder,
    dense_shape,
    random_encoder,
)
from s3prl_compress.encoder.front_ends.convolutional import group_normed_conv

TINY = NAMED_SHAPES["hubert_tiny"]


def with_heads(*heads: HeadShape, ffn: int = 6, family: str = "hubert") -> EncoderShape:
    dense = dense_shape(
        family,  # type: ignore[arg-type]
        hidden=32,
        layers=1,
        heads=4,
        ffn=ffn,
        conv_widths=(8,) * 7,
        position_kernel=4,
        position_groups=2,
    )
    return dense.model_copy(update={"layers": (LayerShape(heads=heads, ffn=ffn),)})


def test_states_and_frames_have_the_documented_sizes() -> None:
    encoder = random_encoder(TINY)
    states, frames = encoder([torch.randn(4000), torch.randn(9000)])
    assert len(states) == len(TINY.layers) + 1
    assert {tuple(state.shape) for state in states} == {(2, TINY.frames(9000), TINY.hidden)}
    assert frames.tolist() == [TINY.frames(4000), TINY.frames(9000)]


def test_train_mode_changes_nothing() -> None:
    encoder = random_encoder(TINY)
    waveforms = [torch.randn(5000), torch.randn(3000)]
    with torch.no_grad():  # with gradients it does up to rounding, see test_cpu_training.py
        for trained, evaluated in zip(
            encoder.train()(waveforms)[0], encoder.eval()(waveforms)[0], strict=True
        ):
            assert torch.equal(trained, evaluated)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_gradients_and_inference_agree(family: str, large: bool) -> None:
    shape = dense_shape(
        family,  # type: ignore[arg-type]
        hidden=32,
        layers=2,
        heads=4,
        ffn=24,
        conv_widths=(16,) * 7,
        large=large,
        position_kernel=8,
        position_groups=2,
    )
    encoder = random_encoder(shape)
    waveforms = [torch.randn(5000), torch.randn(3000)]
    with_gradients = encoder(waveforms)[0]
    with_gradients[-1].sum().backward()
    unused = {"masked_spec_embed"} | {
        name for name, _ in encoder.named_parameters() if large and "layer_norm" in name
    }
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None or name in unused, name
    with torch.no_grad():
        without = encoder(waveforms)[0]
    valid = shape.frames(3000)  # norms amplify the rounding of frames of padding, which are zeros
    for one, other in zip(with_gradients, without, strict=True):
        torch.testing.assert_close(one[0], other[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one[1, :valid], other[1, :valid], rtol=1e-4, atol=1e-5)


def test_normalisation_is_of_each_waveform_before_padding() -> None:
    raw, scaled = random_encoder(TINY, normalize=True), random_encoder(TINY)
    waveforms = [3 + 5 * torch.randn(5000), torch.randn(3000) / 7]
    by_hand = [torch.nn.functional.layer_norm(one, one.shape) for one in waveforms]
    for one, other in zip(raw(waveforms)[0], scaled(by_hand)[0], strict=True):
        assert torch.equal(one, other)


def test_group_norm_folded_into_the_convolution_equals_torch() -> None:
    layer = random_encoder(TINY).feature_extractor.conv_layers[0]
    torch.nn.init.normal_(layer.layer_norm.weight)
    torch.nn.init.normal_(layer.layer_norm.bias)
    # An offset and a strong low tone: a filter that cancels both leaves little variance.
    time = torch.arange(8000) / 16_000
    waveforms = 0.5 + 0.4 * torch.sin(2 * torch.pi * 50 * time) + 0.01 * torch.randn(2, 8000)
    expected = layer.layer_norm.double()(layer.conv.double()(waveforms.double()[:, None]))
    layer.float()
    found = group_normed_conv(waveforms, layer, None)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_a_silent_waveform_gives_finite_states() -> None:
    for normalize in (False, True):
        states, _ = random_encoder(TINY, normalize=normalize)([torch.zeros(4000)])
        assert all(torch.isfinite(state).all() for state in states)


@pytest.mark.parametrize(
    "heads",
    [
        (HeadShape(original=1, qk=8, vo=8),),
        (HeadShape(original=0, qk=8, vo=3), HeadShape(original=3, qk=8, vo=3)),
        (HeadShape(original=0, qk=3, vo=8), HeadShape(original=3, qk=5, vo=1)),
        (HeadShape(original=2, qk=0, vo=4),),
        (),
    ],
    ids=["one", "narrow values", "unequal", "uniform attention", "none"],
)
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_any_head_sizes_equal_attention_written_out(
    family: str, heads: tuple[HeadShape, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = with_heads(*heads, family=family)
    attention = random_encoder(shape).encoder.layers[0].attention
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 7, 32)
    by_distance = torch.randn(4, 13) if family == "wavlm" else None
    distances = 6 + torch.arange(7) - torch.arange(7)[:, None]
    expected = attention.out_proj.bias.expand(2, 7, 32).clone()
    rows = columns = 0
    for number, head in enumerate(heads):
        own_qk, own_vo = slice(rows, rows + head.qk), slice(columns, columns + head.vo)
        rows, columns = rows + head.qk, columns + head.vo
        scores = attention.q_proj(x)[..., own_qk] @ attention.k_proj(x)[..., own_qk].mT * 8**-0.5
        if by_distance is not None:
            part = x.view(2, 7, 4, 8)[:, :, head.original]
            gates = attention.gru_rel_pos_linear(part).view(2, 7, 2, 4).sum(-1).sigmoid()
            constant = attention.gru_rel_pos_const[0, number, 0, 0]
            gate = gates[..., :1] * (gates[..., 1:] * constant - 1) + 2
            scores = scores + gate * by_distance[head.original][distances]
        value = attention.v_proj(x)[..., own_vo]
        expected = expected + scores.softmax(-1) @ value @ attention.out_proj.weight[:, own_vo].mT
    found = attention(x, None, by_distance)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # Blocks of queries, the last of them shorter.
    monkeypatch.setattr("s3prl_compress.encoder.layers.BIAS_ELEMENTS", 2 * len(heads) * 7 * 3)
    found = attention(x, None, by_distance)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_ffn_units_leave_the_bias() -> None:
    encoder = random_encoder(with_heads(HeadShape(original=0, qk=8, vo=8), ffn=0))
    feed_forward = encoder.encoder.layers[0].feed_forward
    torch.nn.init.normal_(feed_forward.output_dense.bias)
    found = feed_forward(torch.randn(1, 3, 32))
    torch.testing.assert_close(found, feed_forward.output_dense.bias.expand(1, 3, 32))


def test_a_copy_shares_nothing() -> None:
    encoder = random_encoder(TINY).eval()
    waveform = [torch.randn(4000)]
    with torch.no_grad():
        before = encoder(waveform)[0][-1]
        twin = copy.deepcopy(encoder)
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        assert not torch.equal(twin(waveform)[0][-1], before)
        assert torch.equal(encoder(waveform)[0][-1], before)


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [
        ([], "list of 1-D waveforms"),
        (torch.zeros(2, 4000), "list of 1-D waveforms"),
        ([torch.zeros(1, 4000)], "waveform 0 has 2 dimensions"),
        ([torch.zeros(4000), torch.zeros(399)], "waveform 1 has 399 samples"),
    ],
)
def test_wrong_audio_is_named(waveforms: list[torch.Tensor], message: str) -> None:
    with pytest.raises(InputError, match=message):
        random_encoder(TINY)(waveforms)


def test_an_unknown_padding_is_named() -> None:
    with pytest.raises(InputError, match="independent, fairseq"):
        SpeechEncoder(TINY, padding="zeros")  # type: ignore[arg-type]


def test_random_weights_depend_on_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = random_encoder(TINY), random_encoder(TINY), random_encoder(TINY, seed=1)
    assert torch.equal(torch.rand(1), expected)
    name = "encoder.layers.0.attention.q_proj.weight"
    assert torch.equal(one.state_dict()[name], again.state_dict()[name])
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])
    assert one.provenance.random_weights
