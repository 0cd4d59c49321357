"""A smaller model computes what the dense one computes with the same units masked to zero."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from s3prl_compress.encoder.shape import LayerShape
from s3prl_compress.surgery import HeadSelection, LayerSelection
from s3prl_compress.surgery.cutting import cut_layers, parameters_cut
from s3prl_compress.whisper import Whisper, count
from s3prl_compress.whisper.model import rebuild_whisper

from .small import FRAMES, MODES, features, logits, tokens

TOLERANCE = 1e-5


def random_selection(layer: LayerShape, seed: int) -> LayerSelection:
    """Return a selection with heads of unequal sizes; of three or more heads, one is removed."""
    chance = random.Random(seed)
    positions = range(len(layer.heads))
    if len(positions) > 2:
        positions = sorted(chance.sample(positions, len(positions) - 1))

    def some(size: int) -> tuple[int, ...]:
        return tuple(sorted(chance.sample(range(size), chance.randint(1, size)))) if size else ()

    heads = tuple(
        HeadSelection(position, some(layer.heads[position].qk), some(layer.heads[position].vo))
        for position in positions
    )
    return LayerSelection(heads, some(layer.ffn))


def mask(model: WhisperForConditionalGeneration, selection: list[LayerSelection]) -> None:
    """Set the weights of all other units to zero; by transformers' modules alone."""
    blocks = [(layer, layer.self_attn, True) for layer in model.model.encoder.layers]
    blocks += [(layer, layer.self_attn, True) for layer in model.model.decoder.layers]
    blocks += [(layer, layer.encoder_attn, False) for layer in model.model.decoder.layers]
    with torch.no_grad():
        for (layer, attention, has_ffn), kept in zip(blocks, selection, strict=True):
            size = attention.head_dim
            qk = [head.position * size + unit for head in kept.heads for unit in head.qk]
            vo = [head.position * size + unit for head in kept.heads for unit in head.vo]
            width = attention.q_proj.out_features
            no_qk = sorted(set(range(width)) - set(qk))
            no_vo = sorted(set(range(width)) - set(vo))
            attention.q_proj.weight[no_qk] = 0
            attention.q_proj.bias[no_qk] = 0
            attention.out_proj.weight[:, no_vo] = 0
            if has_ffn:
                layer.fc2.weight[:, sorted(set(range(layer.fc2.in_features)) - set(kept.ffn))] = 0


@pytest.fixture(scope="module")
def pair(
    dense: Whisper, reference: WhisperForConditionalGeneration
) -> tuple[Whisper, WhisperForConditionalGeneration]:
    selection = [random_selection(layer, n) for n, layer in enumerate(dense.shape.layers)]
    masked = copy.deepcopy(reference)
    mask(masked, selection)
    smaller = rebuild_whisper(dense, cut_layers(dense, selection))
    lost = parameters_cut(dense, selection)
    assert count(smaller).total == count(dense).total - lost
    assert lost > 0.3 * count(dense).linears["both"]
    return smaller, masked


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_smaller_equals_masked_in_logits(
    pair: tuple[Whisper, WhisperForConditionalGeneration], attention: str
) -> None:
    smaller, masked = (copy.deepcopy(model) for model in (pair[0].model, pair[1]))
    for model in (smaller, masked):
        model.set_attn_implementation(attention)
    assert (logits(smaller) - logits(masked)).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("mode", MODES)
def test_smaller_equals_masked_in_tokens(
    pair: tuple[Whisper, WhisperForConditionalGeneration], mode: str, attention: str
) -> None:
    smaller, masked = (copy.deepcopy(model) for model in (pair[0].model, pair[1]))
    for model in (smaller, masked):
        model.set_attn_implementation(attention)
    expected = tokens(masked, mode)
    assert len(expected.unique()) > 4
    assert torch.equal(tokens(smaller, mode), expected)


def test_token_timestamps_use_the_same_heads(
    dense: Whisper, reference: WhisperForConditionalGeneration
) -> None:
    selection = whole(dense)
    first_cross = len(dense.shape.encoder) + len(dense.shape.decoder)
    # Head 1 of this layer is one of those that give timestamps.
    selection[first_cross] = selection[first_cross].keeping(heads=selection[first_cross].heads[1:])
    masked = copy.deepcopy(reference)
    mask(masked, selection)
    smaller = rebuild_whisper(dense, cut_layers(dense, selection))
    assert smaller.model.generation_config.alignment_heads == [[0, 0], [2, 0]]
    again = rebuild_whisper(smaller, cut_layers(smaller, whole(smaller)))
    assert again.model.generation_config.alignment_heads == [[0, 0], [2, 0]]
    times = []
    for model in (smaller.model, masked):
        model.set_attn_implementation("eager")
        result = model.generate(
            features(), return_token_timestamps=True, return_timestamps=True, max_new_tokens=8
        )
        times.append(result["token_timestamps"])
    assert torch.allclose(*times)


def whole(whisper: Whisper) -> list[LayerSelection]:
    return [
        LayerSelection(
            tuple(
                HeadSelection(n, tuple(range(head.qk)), tuple(range(head.vo)))
                for n, head in enumerate(layer.heads)
            ),
            tuple(range(layer.ffn)),
        )
        for layer in whisper.shape.layers
    ]


def test_a_batch_equals_each_utterance_alone(
    pair: tuple[Whisper, WhisperForConditionalGeneration],
) -> None:
    model = pair[0].model
    inputs = features(3)
    text = torch.arange(8).expand(3, -1)
    with torch.no_grad():
        together = model(input_features=inputs, decoder_input_ids=text).logits
        alone = [
            model(input_features=inputs[n : n + 1], decoder_input_ids=text[:1]).logits
            for n in range(3)
        ]
    assert (together - torch.cat(alone)).abs().max() < TOLERANCE
    batch = model.generate(inputs, max_new_tokens=10)
    for number in range(3):
        own = model.generate(inputs[number : number + 1], max_new_tokens=10)[0]
        assert batch[number, : len(own)].tolist() == own.tolist()
        assert not batch[number, len(own) :].any()  # padding


def test_a_deep_copy_does_not_depend_on_the_original(
    pair: tuple[Whisper, WhisperForConditionalGeneration],
) -> None:
    original = rebuild_whisper(pair[0], cut_layers(pair[0], whole(pair[0])))
    expected = logits(original.model)
    copied = copy.deepcopy(original.model)
    for module in original.model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.zeros_like(buffer))  # the padding's index
    assert torch.equal(logits(copied), expected)


def test_the_scale_is_that_of_the_original_head_size(dense: Whisper) -> None:
    for selection in (whole(dense), [random_selection(one, 1) for one in dense.shape.layers]):
        model = rebuild_whisper(dense, cut_layers(dense, selection)).model
        assert model.model.encoder.layers[0].self_attn.scaling == 8**-0.5
        assert model.model.decoder.layers[0].encoder_attn.scaling == 16**-0.5


def test_features_have_the_tested_length(dense: Whisper) -> None:
    assert features().shape[-1] == FRAMES == 2 * dense.shape.audio_positions
