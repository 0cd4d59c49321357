from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder.linear import LowRankLinear
from s3prl_compress.whisper import Part, Whisper, compress, count, load, sparsities

from .small import MODES, logits, small_folder, small_model, tokens

PAIRS = {"qk": ("q_proj", "k_proj"), "vo": ("v_proj",), "ffn": ("fc1",)}


def duplicated(model: WhisperForConditionalGeneration, kind: str) -> int:
    """Make every second unit equal to the one before it; return the parameters this wastes."""
    wasted = 0
    width = model.config.d_model
    with torch.no_grad():
        for name, module in model.named_modules():
            own = name.rpartition(".")[2]
            if own in PAIRS[kind]:
                module.weight[1::2] = module.weight[::2]
                if module.bias is not None:
                    module.bias[1::2] = module.bias[::2]
            if own == PAIRS[kind][0]:
                wasted += module.out_features // 2 * (2 * width + 1)
    return wasted


@pytest.mark.parametrize("kind", PAIRS)
def test_duplicates_fold_exactly_in_all_attentions(kind: str, tmp_path: Path) -> None:
    model = small_model()
    wasted = duplicated(model, kind)
    model.save_pretrained(tmp_path / "hf")
    dense = load(tmp_path / "hf")
    smaller = compress(dense, "clustering", units=kind, sparsity=wasted / count(dense).total)
    assert count(dense).total - count(smaller).total == wasted
    for before, after in zip(dense.shape.layers, smaller.shape.layers, strict=True):
        assert {"qk": after.qk_size, "vo": after.vo_size, "ffn": after.ffn}[kind] == {
            "qk": before.qk_size,
            "vo": before.vo_size,
            "ffn": before.ffn,
        }[kind] // 2
    assert (logits(smaller.model) - logits(model)).abs().max() < 1e-5
    for mode in MODES:
        assert torch.equal(tokens(smaller.model, mode), tokens(model, mode))


@pytest.mark.parametrize("part", ["encoder", "decoder", "both"])
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("clustering", {}),
        ("clustering", {"allocation": "uniform"}),
        ("magnitude", {}),
        ("magnitude", {"scope": "global"}),
        ("low_rank", {}),
    ],
)
def test_targets_are_met_in_the_part_alone(
    method: str, settings: dict[str, Any], part: Part, dense: Whisper
) -> None:
    before = {name: own.clone() for name, own in dense.model.state_dict().items()}
    smaller = compress(dense, method, sparsity=0.1, part=part, **settings)
    reached = sparsities(count(dense), count(smaller), part)
    assert abs(reached["all_parameters"] - 0.1) <= 0.01
    assert reached["linears"] > 0.1
    after = smaller.model.state_dict()
    other = {"encoder": "model.decoder.", "decoder": "model.encoder."}.get(part)
    for name, tensor in before.items():
        assert torch.equal(dense.model.state_dict()[name], tensor)
        unchanged = any(key in name for key in ("embed", "conv", "layer_norm", "proj_out"))
        if unchanged or (other is not None and name.startswith(other)):
            assert torch.equal(after[name], tensor), name
    for mode in ("greedy", "beam", "timestamps"):
        assert tokens(smaller.model, mode).shape[0] == 2


def test_the_result_shares_no_memory_with_the_given_model(dense: Whisper) -> None:
    smaller = compress(dense, "low_rank", sparsity=0.1, part="decoder")
    places = {own.data_ptr() for own in dense.model.parameters()}
    assert not places & {own.data_ptr() for own in smaller.model.parameters()}


def test_counts_are_those_of_transformers(
    dense: Whisper, reference: WhisperForConditionalGeneration
) -> None:
    counts = count(dense)
    assert counts.total == reference.num_parameters()
    assert counts.encoder == sum(own.numel() for own in reference.model.encoder.parameters())
    linears = [
        module
        for name, module in reference.named_modules()
        if name.rpartition(".")[2] in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    ]
    sizes = [sum(own.numel() for own in module.parameters()) for module in linears]
    assert counts.linears["both"] == sum(sizes)
    assert counts.linears["encoder"] + counts.linears["decoder"] == sum(sizes)


def test_low_rank_factors_multiply_to_the_best_approximation(dense: Whisper) -> None:
    smaller = compress(dense, "low_rank", sparsity=0.2)
    factored = {
        name: module
        for name, module in smaller.model.named_modules()
        if isinstance(module, LowRankLinear)
    }
    assert any(name.endswith("encoder_attn.k_proj") for name in factored)
    for name, module in factored.items():
        weight = dense.get_submodule(name).weight
        values = torch.linalg.svdvals(weight)
        error = (module.dense_weight() - weight).norm()
        assert torch.isclose(error, values[len(module.factor_in) :].norm(), rtol=1e-3)
        assert (module.bias is None) == name.endswith("k_proj")


def test_whole_heads_are_removed(dense: Whisper) -> None:
    smaller = compress(dense, "magnitude", units="head", sparsity=0.2, scope="global")
    heads = [len(layer.heads) for layer in smaller.shape.layers]
    assert min(heads) >= 1
    assert sum(heads) < sum(len(layer.heads) for layer in dense.shape.layers)
    assert {layer.ffn for layer in smaller.shape.encoder} == {40}
    for mode in MODES:
        tokens(smaller.model, mode)


@pytest.mark.parametrize(
    ("part", "depths"), [("encoder", (1, 3)), ("decoder", (2, 1)), ("both", (1, 1))]
)
def test_the_bottom_layers_stay(part: Part, depths: tuple[int, int], dense: Whisper) -> None:
    smaller = compress(dense, "layers", keep=1, part=part)
    shape = smaller.shape
    assert (len(shape.encoder), len(shape.decoder)) == depths
    assert len(shape.cross_attention) == len(shape.decoder)
    # The same by transformers' own modules.
    model = WhisperForConditionalGeneration(
        type(dense.model.config)(
            **{
                **dense.model.config.to_dict(),
                "encoder_layers": depths[0],
                "decoder_layers": depths[1],
            }
        )
    ).eval()
    state = dense.model.state_dict()
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    assert torch.equal(logits(smaller.model), logits(model))
    tokens(smaller.model, "static cache")


def test_methods_chain(dense: Whisper) -> None:
    smaller = compress(dense, "magnitude", units="head", sparsity=0.15, scope="global")
    smaller = compress(smaller, "clustering", sparsity=0.1)
    smaller = compress(smaller, "low_rank", sparsity=0.1, part="decoder")
    smaller = compress(smaller, "clustering", sparsity=0.05)
    smaller = compress(smaller, "layers", keep=2, part="decoder")
    done = [step.method for step in smaller.provenance.steps]
    assert done == ["magnitude", "clustering", "low_rank", "clustering", "layers"]
    assert smaller.provenance.steps[2].settings["part"] == "decoder"
    for mode in MODES:
        tokens(smaller.model, mode)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("structured", {}, "no method 'structured' for Whisper; there are: clustering"),
        ("clustering", {"form": "share"}, "only form 'fold' applies to Whisper"),
        ("clustering", {"part": "middle"}, "part: must be 'encoder', 'decoder' or 'both'"),
        ("magnitude", {"granularity": "weight"}, "only granularity 'channel'"),
        ("magnitude", {"units": "conv"}, "convolutions are not pruned"),
        ("low_rank", {"audio": "somewhere"}, "audio does not apply"),
        ("layers", {"keep": 3}, "keep 3 is more than the 2 layers of this encoder"),
        ("layers", {"keep": 4, "part": "decoder"}, "the 3 layers of this decoder"),
        ("layers", {"keep": 0}, "keep: must be greater"),
        ("clustering", {"sparsity": 0.9}, "0.9 cannot be reached on this model"),
        ("clustering", {"share": 1}, "share: no such setting"),
    ],
)
def test_what_does_not_apply_is_one_line(
    method: str, settings: dict[str, Any], message: str, dense: Whisper
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        compress(dense, method, **settings)
    assert "\n" not in str(caught.value)


def test_the_history_names_the_base_and_every_setting(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "hf")
    smaller = compress(load(source), sparsity=0.1)
    history = json.loads(smaller.provenance.model_dump_json())
    assert history["base"] == str(source)
    assert len(history["base_sha256"]) == 64
    assert history["steps"][0]["settings"]["part"] == "both"
    assert set(history["packages"]) == {"torch", "transformers"}
