"""Folders of transformers: weights, heads, the normalisation flag, and what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import fingerprint, load, save
from s3prl_compress.s3prl_bridge.compat import apply_patches

from ...support.baselines import TOLERANCE, baselines, noise, small_shape, states_of
from .files import edit_json, little_memory, refused, to_pickle, transformers_folder, weights_of

SYMBOLS = {"<pad>": 2, "a": 0, "|": 1, "b": 3}


def test_provenance_names_the_source_and_its_hash(folder: Path) -> None:
    encoder = load(folder)
    data = (folder / "model.safetensors").read_bytes()
    assert encoder.provenance.base == str(folder)
    assert encoder.provenance.base_sha256 == hashlib.sha256(data).hexdigest()
    assert encoder.provenance.base_revision is None
    assert not encoder.provenance.random_weights
    assert set(encoder.provenance.packages) == {"torch", "safetensors"}
    assert encoder.head is None
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_legacy_bin_with_old_weight_norm_names_in_half_precision(folder: Path) -> None:
    expected = states_of(load(folder), noise(5_000))
    names = {"parametrizations.weight.original0": "weight_g"}
    names["parametrizations.weight.original1"] = "weight_v"
    old = {}
    for name, weight in weights_of(folder).items():
        for new_ending, old_ending in names.items():
            name = name.replace(new_ending, old_ending)
        old[name] = weight
    assert any(name.endswith("weight_g") for name in old)
    to_pickle(folder, old)
    assert baselines.largest_difference(states_of(load(folder), noise(5_000)), expected) == 0.0

    torch.save({name: weight.half() for name, weight in old.items()}, folder / "pytorch_model.bin")
    encoder = load(folder)
    assert {weight.dtype for weight in encoder.state_dict().values()} == {torch.float32}
    assert baselines.largest_difference(states_of(encoder, noise(5_000)), expected) < 0.02


@pytest.mark.parametrize("legacy", [False, True])
def test_sharded_weights(legacy: bool, folder: Path) -> None:
    from safetensors.torch import save_file

    expected = states_of(load(folder), noise(5_000))
    weights = list(weights_of(folder).items())
    (folder / "model.safetensors").unlink()
    stem, ending = ("pytorch_model", "bin") if legacy else ("model", "safetensors")
    places = {}
    for number, part in enumerate((weights[:20], weights[20:]), start=1):
        shard = f"{stem}-{number:05}-of-00002.{ending}"
        (torch.save if legacy else save_file)(dict(part), folder / shard)
        places |= {name: shard for name, _ in part}
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert baselines.largest_difference(states_of(load(folder), noise(5_000)), expected) == 0.0

    (folder / f"{stem}-00002-of-00002.{ending}").unlink()
    with pytest.raises(InputError, match=r"00002-of-00002.* is missing"):
        load(folder)


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_ctc_folders_keep_head_and_vocabulary(family: str, tmp_path: Path) -> None:
    model = baselines.transformers_model(
        small_shape(family, True), "ForCTC", vocab_size=4, pad_token_id=2
    )
    folder = transformers_folder(tmp_path, model)
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS))

    encoder = load(folder)

    assert encoder.head is not None
    assert encoder.head.vocabulary == ("a", "|", "<pad>", "b")
    assert encoder.head.blank == 2
    (waveform,) = noise(6_000)
    with torch.no_grad():
        theirs = model(waveform[None]).logits
        ours = encoder.head(encoder([waveform])[0][-1])
    assert baselines.largest_difference([ours], [theirs]) <= TOLERANCE


def test_ctc_vocabularies_that_do_not_fit(tmp_path: Path) -> None:
    model = baselines.transformers_model(
        small_shape("wav2vec2", False), "ForCTC", vocab_size=4, pad_token_id=2
    )
    folder = transformers_folder(tmp_path, model)
    with pytest.warns(UserWarning, match=r"no vocab\.json.*not imported"):
        assert load(folder).head is None
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    refused(folder, "vocab.json", "2 symbols", "4 outputs")
    (folder / "added_tokens.json").write_text(json.dumps({"<s>": 2, "</s>": 3}))
    head = load(folder).head
    assert head is not None
    assert head.vocabulary == ("a", "b", "<s>", "</s>")
    (folder / "vocab.json").write_text(json.dumps({"eng": {"a": 0}}))
    refused(folder, "vocab.json", "not a table")
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS | {"b": 1}))
    (folder / "added_tokens.json").unlink()
    refused(folder, "vocab.json")
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS))
    edit_json(folder / "config.json", pad_token_id=9)
    refused(folder, "pad_token_id", "9")


@pytest.mark.parametrize("kind", ["ForPreTraining", "ForSequenceClassification", "ForXVector"])
def test_other_heads_are_left_out(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = baselines.transformers_model(small_shape("wav2vec2", False), kind)
    folder = transformers_folder(tmp_path, model)
    with caplog.at_level(logging.DEBUG, "s3prl_compress"):
        encoder = load(folder)
    left_out = next(record.message for record in caplog.records if "not imported" in record.message)
    assert ("quantizer.codevectors" if kind == "ForPreTraining" else "projector") in left_out
    waveforms = noise(5_000)
    theirs = baselines.transformers_states(model.wav2vec2, waveforms[0])
    assert baselines.largest_difference(states_of(encoder, waveforms), theirs) <= TOLERANCE


def test_models_without_a_mask_embedding(tmp_path: Path) -> None:
    model = baselines.transformers_model(
        small_shape("hubert", False), mask_time_prob=0.0, mask_feature_prob=0.0
    )
    assert "masked_spec_embed" not in model.state_dict()
    assert not load(transformers_folder(tmp_path, model)).masked_spec_embed.any()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("add_adapter", True),
        ("adapter_attn_dim", 16),
        ("conv_pos_batch_norm", True),
        ("feat_proj_layer_norm", False),
        ("hidden_act", "relu"),
        ("feat_extract_activation", "gelu_new"),
        ("pruned_heads", {"0": [1]}),
        ("quantization_config", {"bits": 8}),
        ("feat_extract_norm", "batch"),
        ("num_attention_heads", 5),
        ("model_type", "conformer"),
        ("num_hidden_layers", -1),
        ("conv_dim", [24, 28]),
    ],
)
def test_unsupported_fields_are_named(field: str, value: Any, folder: Path) -> None:
    edit_json(folder / "config.json", **{field: value})
    message = refused(folder, "config.json")
    assert field in message or field in ("num_attention_heads", "num_hidden_layers")


def test_missing_extra_misshapen_and_broken_tensors(folder: Path) -> None:
    weights = weights_of(folder)
    name = "encoder.layers.1.attention.k_proj.weight"
    to_pickle(folder, weights)
    for change, words in (
        ({name: None}, ("missing",)),
        ({"encoder.layers.1.attention.extra": torch.ones(1)}, ("does not belong", "extra")),
        ({name: weights[name][:-1]}, ("[47, 48]", "[48, 48]")),
        ({name: weights[name] * float("nan")}, ("NaN",)),
    ):
        changed = {key: value for key, value in (weights | change).items() if value is not None}
        torch.save(changed, folder / "pytorch_model.bin")
        message = refused(folder, *words)
        assert name in message or "extra" in message


def test_truncated_files_and_missing_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in refused(folder, "damaged")
    weights.unlink()
    refused(folder, "no weights", "pytorch_model.bin")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json", "JSON")
    (folder / "config.json").unlink()
    refused(folder, "no config.json")


@pytest.mark.parametrize("said", [True, False])
def test_normalisation_as_the_preprocessor_says(said: bool, folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": said}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder).normalize is said


def test_normalisation_from_transformers_5_processors(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    content = {"feature_extractor": {"do_normalize": True}}
    (folder / "processor_config.json").write_text(json.dumps(content))
    assert load(folder).normalize is True


def test_normalisation_that_nobody_states_is_off_with_a_warning(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{}")
    with pytest.warns(UserWarning, match="does not say whether waveforms"):
        assert load(folder).normalize is False
    edit_json(folder / "config.json", do_normalize=True)
    assert load(folder).normalize is True


def test_the_caller_decides_before_the_checkpoint(folder: Path) -> None:
    assert load(folder, normalize=True).normalize is True
    (folder / "preprocessor_config.json").write_text("{}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing where the caller has said it
        assert load(folder, normalize=False).normalize is False


@pytest.mark.s3prl
@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_normalisation_of_quiet_audio_is_that_of_the_origin(
    loudness: float, tmp_path: Path
) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    (wave,) = noise(6_000)
    wave = loudness * wave / wave.square().mean().sqrt()
    shape = small_shape("hubert", True)
    model = baselines.transformers_model(shape)
    folder = transformers_folder(tmp_path / "large", model)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_values[0]
    theirs = baselines.transformers_states(model, values)
    ours = load(folder)
    assert baselines.largest_difference(states_of(ours, [wave]), theirs) <= TOLERANCE
    # Behind a checkpoint of ours, too.
    again = load(save(ours, tmp_path / "ours"))
    assert fingerprint(again) == fingerprint(ours)
    assert baselines.largest_difference(states_of(again, [wave]), theirs) <= TOLERANCE

    apply_patches()
    path = baselines.s3prl_file(shape, tmp_path / "large.pt", normalize=True)
    theirs = baselines.s3prl_states(baselines.s3prl_expert("hubert", path), [wave])
    assert baselines.largest_difference(states_of(load(path), [wave]), theirs) <= TOLERANCE


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", "many"),
        ("num_attention_heads", 10**9),
        ("hidden_size", "wide"),
        ("hidden_size", 12 * 10**8),
        ("intermediate_size", 10**9),
        ("conv_dim", 5),
        ("num_conv_pos_embeddings", 10**9),
    ],
)
def test_hostile_folders_are_refused_before_they_allocate(
    setting: str, value: object, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "hubert", setting: value}))
    with little_memory():
        refused(tmp_path, "config.json")
