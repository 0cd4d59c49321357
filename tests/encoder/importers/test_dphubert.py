"""DPHuBERT's files: heads, units and convolution channels pruned by its own rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.encoder import load

from ...support.baselines import TOLERANCE, baselines, noise, states_of
from .files import refused, torchaudio_model, torchaudio_states

KEPT = ([0, 3], [1])  # heads of either layer
UNITS = ([5, 6, 70], list(range(40)))


def _prune(model: nn.Module, wavlm: bool, layer: int, tensors: dict[str, Tensor]) -> None:
    """Cut heads and units out of `tensors`, and silence the same ones in `model`."""
    name = f"encoder.transformer.layers.{layer}."
    attention = name + "attention."
    rows = torch.tensor([head * 12 + row for head in KEPT[layer] for row in range(12)])
    units = torch.tensor(UNITS[layer])
    state = model.state_dict()
    if wavlm:  # torchaudio packs the three projections, DPHuBERT does not
        for kind in ("weight", "bias"):
            packed = tensors.pop(f"{attention}attention.in_proj_{kind}")
            for letter, part in zip("qkv", packed.chunk(3), strict=True):
                tensors[f"{attention}{letter}_proj.{kind}"] = part
            tensors[f"{attention}out_proj.{kind}"] = tensors.pop(
                f"{attention}attention.out_proj.{kind}"
            )
    for letter in "qkv":
        for kind in ("weight", "bias"):
            tensors[f"{attention}{letter}_proj.{kind}"] = tensors[
                f"{attention}{letter}_proj.{kind}"
            ][rows]
    tensors[f"{attention}out_proj.weight"] = tensors[f"{attention}out_proj.weight"][:, rows]
    gone = torch.ones(48, dtype=torch.bool)
    gone[rows] = False
    state[f"{attention}{'attention.' if wavlm else ''}out_proj.weight"][:, gone] = 0
    dense, output = f"{name}feed_forward.intermediate_dense", f"{name}feed_forward.output_dense"
    tensors[f"{dense}.weight"] = tensors[f"{dense}.weight"][units]
    tensors[f"{dense}.bias"] = tensors[f"{dense}.bias"][units]
    tensors[f"{output}.weight"] = tensors[f"{output}.weight"][:, units]
    gone = torch.ones(80, dtype=torch.bool)
    gone[units] = False
    state[f"{output}.weight"][:, gone] = 0


def _dphubert(config: dict[str, Any], wavlm: bool, **changes: Any) -> dict[str, Any]:
    """DPHuBERT's arguments for the heads and units that are kept."""
    config = config | {
        "encoder_use_attention": [True, True],
        "encoder_use_feed_forward": [True, True],
        "encoder_ff_interm_features": [len(units) for units in UNITS],
        "extractor_prune_conv_channels": False,
    }
    del config["encoder_num_heads"]
    if wavlm:
        heads = {"encoder_remaining_heads": list(KEPT), "encoder_total_num_heads": [4, 4]}
    else:
        heads = {"encoder_num_heads": [len(kept) for kept in KEPT], "encoder_head_dim": 12}
    return config | heads | changes


@pytest.mark.parametrize("wavlm", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_dphubert_files(large: bool, wavlm: bool, tmp_path: Path) -> None:
    """Pruned equals silenced in torchaudio's model; old weight norm, soft mask."""
    config, model = torchaudio_model(large, wavlm)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in range(2):
        _prune(model, wavlm, layer, tensors)
    position = "encoder.transformer.pos_conv_embed.conv."
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        tensors[position + old] = tensors.pop(f"{position}parametrizations.weight.{new}")
    tensors["feature_extractor.dummy_weight"] = torch.ones(56)
    path = tmp_path / "pruned.pth"
    content = {"config": _dphubert(config, wavlm), "state_dict": tensors}
    torch.save(content | {"distill_linear_projs": {}}, path)

    encoder = load(path)

    assert [len(layer.heads) for layer in encoder.shape.layers] == [2, 1]
    assert [layer.ffn for layer in encoder.shape.layers] == [3, 40]
    if wavlm:
        assert [head.original for head in encoder.shape.layers[0].heads] == [0, 3]
    waveforms = noise(40_000)
    theirs = torchaudio_states(model, waveforms[0])
    assert baselines.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE

    mask = torch.linspace(0.2, 1.0, 56)
    tensors["feature_extractor.dummy_weight"] = mask
    model.feature_extractor.register_forward_hook(  # type: ignore[union-attr]
        lambda _module, _inputs, output: (output[0] * mask, output[1])
    )
    torch.save(content, path)
    encoder = load(path)
    assert encoder.shape.feature_scale
    theirs = torchaudio_states(model, waveforms[0])
    assert baselines.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE
    torch.save(
        content | {"config": content["config"] | {"encoder_prune_attention_layer": True}}, path
    )
    refused(path, "encoder_prune_attention_layer", "prune.py")


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("wavlm", [False, True])
def test_dphubert_files_without_whole_blocks(wavlm: bool, layer: int, tmp_path: Path) -> None:
    config, model = torchaudio_model(False, wavlm)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for index in range(2):
        _prune(model, wavlm, index, tensors)
    blocks = model.encoder.transformer.layers  # type: ignore[union-attr]
    attention = blocks[layer].attention  # type: ignore[index]
    state = (attention.attention if wavlm else attention).out_proj.state_dict()  # type: ignore[union-attr]
    state |= blocks[1 - layer].feed_forward.output_dense.state_dict(prefix="ffn.")  # type: ignore[index]
    for tensor in state.values():
        tensor.zero_()
    if wavlm and layer == 0:  # DPHuBERT loses all position biases with the first attention
        attention.rel_attn_embed.weight.data.zero_()  # type: ignore[union-attr]
    gone = (
        f"encoder.transformer.layers.{layer}.attention.",
        f"encoder.transformer.layers.{1 - layer}.feed_forward.",
    )
    switches = {
        "encoder_use_attention": [index != layer for index in range(2)],
        "encoder_use_feed_forward": [index == layer for index in range(2)],
    }
    path = tmp_path / "pruned.pth"
    torch.save(
        {
            "config": _dphubert(config, wavlm, **switches),
            "state_dict": {
                name: tensor for name, tensor in tensors.items() if not name.startswith(gone)
            },
        },
        path,
    )
    encoder = load(path)
    assert encoder.shape.layers[layer].heads == ()
    assert encoder.shape.layers[1 - layer].ffn == 0
    waveforms = noise(20_000)
    theirs = torchaudio_states(model, waveforms[0])
    assert baselines.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE
