from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, fingerprint
from s3prl_compress.encoder.cost import nonzero_parameters
from s3prl_compress.encoder.shape import EncoderShape
from s3prl_compress.methods import HeadSelection, LayerSelection, Selection, compress, select_units
from s3prl_compress.surgery.cutting import parameters_after

from ..support.small import assert_same, small_encoder, small_shape, speech
from .masked import masked

KINDS = ("ffn", "qk", "vo", "head", "conv")


def subset(draw: st.DrawFn, size: int, least: int = 0) -> tuple[int, ...]:
    chosen = draw(st.sets(st.integers(0, size - 1), min_size=least)) if size else set()
    return tuple(sorted(chosen))


@st.composite
def selections(draw: st.DrawFn, shape: EncoderShape, kind: str) -> Selection:
    """Draw a selection that leaves out units of one kind."""
    whole = Selection.everything(shape)
    if kind == "conv":
        return dataclasses.replace(
            whole, convs=tuple(subset(draw, conv.width, least=1) for conv in shape.convs)
        )
    layers = []
    for layer, shape_of_layer in zip(whole.layers, shape.layers, strict=True):
        heads = layer.heads
        if kind == "head":
            heads = tuple(heads[n] for n in subset(draw, len(heads)))
        elif kind in ("qk", "vo"):
            size = shape_of_layer.heads[0].qk
            heads = tuple(dataclasses.replace(head, **{kind: subset(draw, size)}) for head in heads)
        ffn = subset(draw, shape_of_layer.ffn) if kind == "ffn" else layer.ffn
        layers.append(LayerSelection(heads=heads, ffn=ffn))
    return dataclasses.replace(whole, layers=tuple(layers))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_shrunk_equals_masked(kind: str, data: st.DataObject) -> None:
    encoder = small_encoder(
        data.draw(st.sampled_from(["hubert", "wav2vec2", "wavlm"])),
        layer_norm=data.draw(st.booleans()),
        pre_norm=data.draw(st.booleans()),
    )
    selection = data.draw(selections(encoder.shape, kind))
    shrunk = select_units(encoder, selection)
    assert_same(shrunk, masked(encoder, selection), speech(3000))
    assert_same(shrunk, masked(encoder, selection), speech(1500, 4000))
    assert parameters_after(encoder, selection) == nonzero_parameters(shrunk)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("padding", ["independent", "fairseq"])
def test_wavlm_loses_all_heads_of_any_layer(layer: int, padding: str) -> None:
    encoder = small_encoder("wavlm")
    encoder.padding = padding  # type: ignore[assignment]
    selection = without_heads(encoder.shape, layer, 0, 1, 2)
    shrunk = select_units(encoder, selection)
    assert shrunk.shape.layers[layer].heads == ()
    assert shrunk.padding == padding
    assert shrunk.get_parameter("encoder.layers.0.attention.rel_attn_embed.weight").shape[1] == 3
    assert_same(shrunk, masked(encoder, selection), speech(4000, 2000))


def test_wavlm_remembers_the_original_heads_over_two_steps() -> None:
    encoder = small_encoder("wavlm")
    twice = select_units(encoder, without_heads(encoder.shape, 0, 0))
    twice = select_units(twice, without_heads(twice.shape, 0, 0))
    assert [head.original for head in twice.shape.layers[0].heads] == [2]
    once = select_units(encoder, without_heads(encoder.shape, 0, 0, 1))
    assert fingerprint(once) == fingerprint(twice)


def test_everything_at_once() -> None:
    encoder = small_encoder("wavlm", layer_norm=True)
    head = HeadSelection(1, qk=(0, 3, 5), vo=(1, 2, 6, 7))
    selection = Selection(
        layers=(LayerSelection((head,), (2, 9)), LayerSelection((), ())),
        convs=((0, 5), (1,), (0, 1, 2), (4,), (0, 5), (3,), (0, 2, 6)),
    )
    assert_same(select_units(encoder, selection), masked(encoder, selection), speech(5000, 900))


@pytest.mark.parametrize(
    "first",
    [
        ("clustering", {"form": "share", "sparsity": 0.25}),
        ("low_rank", {"sparsity": 0.25}),
        ("magnitude", {"granularity": "weight", "sparsity": 0.25}),
    ],
)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_every_kind_of_linear_shrinks(first: tuple[str, dict], data: st.DataObject) -> None:
    encoder = compress(small_encoder(), first[0], **first[1])
    selection = data.draw(selections(encoder.shape, data.draw(st.sampled_from(KINDS))))
    shrunk = select_units(encoder, selection)
    assert_same(shrunk, masked(encoder, selection), speech(1500, 3000))
    assert parameters_after(encoder, selection) == nonzero_parameters(shrunk)


def test_nothing_left_out_changes_nothing_and_shares_nothing() -> None:
    encoder = small_encoder()
    copy = select_units(encoder, Selection.everything(encoder.shape))
    assert fingerprint(copy) == fingerprint(encoder)
    before = fingerprint(encoder)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    assert fingerprint(encoder) == before


def test_a_model_without_projection_keeps_its_last_convolution() -> None:
    shape = small_shape()
    convs = (*shape.convs[:-1], shape.convs[-1].model_copy(update={"width": 24}))
    shape = EncoderShape.model_validate(
        shape.model_copy(update={"projection": False, "convs": convs}).model_dump()
    )
    encoder = SpeechEncoder(shape)
    whole = Selection.everything(shape)
    with pytest.raises(InputError, match="no projection"):
        select_units(encoder, dataclasses.replace(whole, convs=(*whole.convs[:-1], (0, 1))))
    selection = dataclasses.replace(whole, convs=((0, 1), *whole.convs[1:]))
    assert_same(select_units(encoder, selection), masked(encoder, selection), speech(3000))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (LayerSelection((), (0, 10)), "layer 1, ffn"),
        (LayerSelection((), (3, 2)), "layer 1, ffn"),
        (LayerSelection((HeadSelection(3, (), ()),), ()), "layer 1, heads"),
        (LayerSelection((HeadSelection(0, (8,), ()),), ()), "head 0, qk"),
    ],
)
def test_a_selection_that_does_not_fit_is_refused(layer: LayerSelection, message: str) -> None:
    encoder = small_encoder()
    whole = Selection.everything(encoder.shape)
    with pytest.raises(InputError, match=message):
        select_units(encoder, dataclasses.replace(whole, layers=(whole.layers[0], layer)))


def without_heads(shape: EncoderShape, layer: int, *positions: int) -> Selection:
    whole = Selection.everything(shape)
    layers = list(whole.layers)
    heads = tuple(head for head in layers[layer].heads if head.position not in positions)
    layers[layer] = dataclasses.replace(layers[layer], heads=heads)
    return dataclasses.replace(whole, layers=tuple(layers))
