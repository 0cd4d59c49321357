"""Every format that is read, every way to be refused."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import pickle
import sys
import tracemalloc
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s3prl_compress.encoder import fingerprint, load, save
from s3prl_compress.encoder.importers import import_foreign
from s3prl_compress.encoder.importers.hub import is_hub_id
from s3prl_compress.encoder.importers.s3prl_pt import our_name, parse_convs
from s3prl_compress.errors import InputError
from s3prl_compress.s3prl_bridge.mends import mend

from .peers import TOLERANCE, noise, peers, small_shape, states_of

SYMBOLS = {"<pad>": 2, "a": 0, "|": 1, "b": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A HuBERT folder that says it does not normalise."""
    return _folder(tmp_path / "hubert", peers.transformers_model(small_shape("hubert", False)))


def _folder(folder: Path, model: nn.Module, **saving: Any) -> Path:
    model.save_pretrained(folder, **saving)  # type: ignore[operator]
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    return folder


def _edit(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _weights(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def _legacy(folder: Path, weights: dict[str, Tensor]) -> None:
    """Put the weights into a pickle, as transformers 4 did."""
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def _refused(source: Path | str, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        import_foreign(source)
    message = str(caught.value)
    assert "\n" not in message
    for word in (*words, Path(source).name):
        assert word in message
    return message


# --- transformers ---------------------------------------------------------------------------


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
    for name, weight in _weights(folder).items():
        for new_ending, old_ending in names.items():
            name = name.replace(new_ending, old_ending)
        old[name] = weight
    assert any(name.endswith("weight_g") for name in old)
    _legacy(folder, old)
    assert peers.largest_difference(states_of(load(folder), noise(5_000)), expected) == 0.0

    torch.save({name: weight.half() for name, weight in old.items()}, folder / "pytorch_model.bin")
    encoder = load(folder)
    assert {weight.dtype for weight in encoder.state_dict().values()} == {torch.float32}
    assert peers.largest_difference(states_of(encoder, noise(5_000)), expected) < 0.02


@pytest.mark.parametrize("legacy", [False, True])
def test_sharded_weights(legacy: bool, folder: Path) -> None:
    from safetensors.torch import save_file

    expected = states_of(load(folder), noise(5_000))
    weights = list(_weights(folder).items())
    (folder / "model.safetensors").unlink()
    stem, ending = ("pytorch_model", "bin") if legacy else ("model", "safetensors")
    places = {}
    for number, part in enumerate((weights[:20], weights[20:]), start=1):
        shard = f"{stem}-{number:05}-of-00002.{ending}"
        (torch.save if legacy else save_file)(dict(part), folder / shard)
        places |= {name: shard for name, _ in part}
    index = folder / f"{stem}.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert peers.largest_difference(states_of(load(folder), noise(5_000)), expected) == 0.0

    (folder / f"{stem}-00002-of-00002.{ending}").unlink()
    with pytest.raises(InputError, match=r"00002-of-00002.* is missing"):
        load(folder)


@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_ctc_folders_keep_head_and_vocabulary(family: str, tmp_path: Path) -> None:
    model = peers.transformers_model(
        small_shape(family, True), "ForCTC", vocab_size=4, pad_token_id=2
    )
    folder = _folder(tmp_path, model)
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS))

    encoder = load(folder)

    assert encoder.head is not None
    assert encoder.head.vocabulary == ("a", "|", "<pad>", "b")
    assert encoder.head.blank == 2
    (waveform,) = noise(6_000)
    with torch.no_grad():
        theirs = model(waveform[None]).logits
        ours = encoder.head(encoder([waveform])[0][-1])
    assert peers.largest_difference([ours], [theirs]) <= TOLERANCE


def test_ctc_vocabularies_that_do_not_fit(tmp_path: Path) -> None:
    model = peers.transformers_model(
        small_shape("wav2vec2", False), "ForCTC", vocab_size=4, pad_token_id=2
    )
    folder = _folder(tmp_path, model)
    with pytest.warns(UserWarning, match=r"no vocab\.json.*left out"):
        assert load(folder).head is None
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1}))
    _refused(folder, "vocab.json", "2 symbols", "4 outputs")
    (folder / "added_tokens.json").write_text(json.dumps({"<s>": 2, "</s>": 3}))
    head = load(folder).head
    assert head is not None
    assert head.vocabulary == ("a", "b", "<s>", "</s>")
    (folder / "vocab.json").write_text(json.dumps({"eng": {"a": 0}}))
    _refused(folder, "vocab.json", "no plain table")
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS | {"b": 1}))
    (folder / "added_tokens.json").unlink()
    _refused(folder, "vocab.json")
    (folder / "vocab.json").write_text(json.dumps(SYMBOLS))
    _edit(folder / "config.json", pad_token_id=9)
    _refused(folder, "pad_token_id", "9")


@pytest.mark.parametrize("kind", ["ForPreTraining", "ForSequenceClassification", "ForXVector"])
def test_other_heads_are_left_out(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = peers.transformers_model(small_shape("wav2vec2", False), kind)
    folder = _folder(tmp_path, model)
    with caplog.at_level(logging.DEBUG, "s3prl_compress"):
        encoder = load(folder)
    left_out = next(record.message for record in caplog.records if "left out" in record.message)
    assert ("quantizer.codevectors" if kind == "ForPreTraining" else "projector") in left_out
    waveforms = noise(5_000)
    theirs = peers.transformers_states(model.wav2vec2, waveforms[0])
    assert peers.largest_difference(states_of(encoder, waveforms), theirs) <= TOLERANCE


def test_models_without_a_mask_embedding(tmp_path: Path) -> None:
    model = peers.transformers_model(
        small_shape("hubert", False), mask_time_prob=0.0, mask_feature_prob=0.0
    )
    assert "masked_spec_embed" not in model.state_dict()
    assert not load(_folder(tmp_path, model)).masked_spec_embed.any()


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
        ("model_type", "whisper"),
        ("num_hidden_layers", 0),
        ("conv_dim", [24, 28]),
    ],
)
def test_unsupported_fields_are_named(field: str, value: Any, folder: Path) -> None:
    _edit(folder / "config.json", **{field: value})
    message = _refused(folder, "config.json")
    assert field in message or field in ("num_attention_heads", "num_hidden_layers")


def test_missing_extra_misshapen_and_broken_tensors(folder: Path) -> None:
    weights = _weights(folder)
    name = "encoder.layers.1.attention.k_proj.weight"
    _legacy(folder, weights)
    for change, words in (
        ({name: None}, ("missing",)),
        ({"encoder.layers.1.attention.extra": torch.ones(1)}, ("does not belong", "extra")),
        ({name: weights[name][:-1]}, ("[47, 48]", "[48, 48]")),
        ({name: weights[name] * float("nan")}, ("NaN",)),
    ):
        changed = {key: value for key, value in (weights | change).items() if value is not None}
        torch.save(changed, folder / "pytorch_model.bin")
        message = _refused(folder, *words)
        assert name in message or "extra" in message


def test_truncated_files_and_missing_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "model.safetensors" in _refused(folder, "broken")
    weights.unlink()
    _refused(folder, "no weights", "pytorch_model.bin")
    (folder / "config.json").write_text("{")
    _refused(folder, "config.json", "JSON")
    (folder / "config.json").unlink()
    _refused(folder, "no config.json")


# --- the normalisation flag -----------------------------------------------------------------


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
    _edit(folder / "config.json", do_normalize=True)
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
    model = peers.transformers_model(shape)
    folder = _folder(tmp_path / "large", model)
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    values = extractor(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_values[0]
    theirs = peers.transformers_states(model, values)
    ours = load(folder)
    assert peers.largest_difference(states_of(ours, [wave]), theirs) <= TOLERANCE
    # Behind a checkpoint of ours, too.
    again = load(save(ours, tmp_path / "ours"))
    assert fingerprint(again) == fingerprint(ours)
    assert peers.largest_difference(states_of(again, [wave]), theirs) <= TOLERANCE

    mend()
    path = peers.s3prl_file(shape, tmp_path / "large.pt", normalize=True)
    theirs = peers.s3prl_states(peers.s3prl_expert("hubert", path), [wave])
    assert peers.largest_difference(states_of(load(path), [wave]), theirs) <= TOLERANCE


# --- paths and the hub ----


def test_a_mistyped_path_is_never_looked_up_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fetch(repository: str, **_: Any) -> str:
        raise AssertionError(f"{repository} was looked up")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    _refused("out/fold10", "no such file or folder in out")
    for path in ("./fold10", "../fold10", "~/fold10", "a/b/c", "runs/base.fold10", "runs/x.pt"):
        _refused(path, f"{path}: no such file or folder")


def test_versions_are_no_suffixes_of_hub_ids() -> None:
    assert is_hub_id("someone/some-model-v1.5")
    assert is_hub_id("facebook/hubert-base-ls960")


# --- the hub --------------------------------------------------------------------------------


def test_a_hub_id_is_fetched_with_its_commit(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    commit = tmp_path / "snapshots" / "0123abc"
    commit.parent.mkdir()
    folder.rename(commit)
    asked = []

    def fetch(repository: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, "config.json" in allow_patterns))
        return str(commit)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    encoder = load("someone/some-model", revision="main")
    assert asked == [("someone/some-model", "main", True)]
    assert encoder.provenance.base == "someone/some-model"
    assert encoder.provenance.base_revision == "0123abc"

    _legacy(commit, _weights(commit))
    assert load("someone/some-model").provenance.base_sha256
    assert len(asked) == 3  # asked again for the legacy file


def test_no_way_to_the_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def fetch(*_: Any, **__: Any) -> str:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    _refused("someone/some-model", "someone/some-model", "hub", "no route")


# --- s3prl's converted files ----------------------------------------------------------------


@pytest.mark.s3prl
@pytest.mark.parametrize("family", ["hubert", "wav2vec2", "wavlm"])
def test_s3prl_files_without_a_projection(family: str, tmp_path: Path) -> None:
    mend()
    shape = small_shape(family, False, conv_widths=(24,) * 6 + (48,))
    path = peers.s3prl_file(shape, tmp_path / "model.pt")
    encoder = load(path, padding="fairseq")
    assert encoder.shape == shape.model_copy(update={"projection": False})
    waveforms = noise(6_000, 4_500)
    theirs = peers.s3prl_states(peers.s3prl_expert(family, path), waveforms)
    assert peers.largest_difference(states_of(encoder, waveforms), theirs) <= TOLERANCE


@pytest.mark.s3prl
def test_s3prl_files_that_are_wrong(tmp_path: Path) -> None:
    mend()
    path = peers.s3prl_file(small_shape("wavlm", False), tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)
    for fields, words in (
        ({"gru_rel_pos": False}, ("gru_rel_pos",)),
        ({"activation_fn": "relu"}, ("activation_fn", "relu")),
        ({"extractor_mode": "other"}, ("extractor_mode",)),
        ({"conv_feature_layers": "__import__('os').getcwd()"}, ("conv_feature_layers",)),
        ({"encoder_attention_heads": 7}, ("48", "7")),
        ({"encoder_layers": 1}, ("encoder.layers.1", "does not belong")),
        ({"encoder_layers": 3}, ("encoder.layers.2", "missing")),
    ):
        torch.save(content | {"cfg": content["cfg"] | fields}, path)
        _refused(path, *words)
    torch.save(content, path)
    assert load(path).normalize is False
    del content["cfg"]["normalize"]
    torch.save(content, path)
    with pytest.warns(UserWarning, match="does not say"):
        load(path)


def test_fairseq_names() -> None:
    assert our_name("mask_emb") == "masked_spec_embed"
    assert our_name("layer_norm.bias") == "feature_projection.layer_norm.bias"
    assert our_name("encoder.layer_norm.bias") == "encoder.layer_norm.bias"
    assert our_name("feature_extractor.conv_layers.0.2.weight") == (
        "feature_extractor.conv_layers.0.layer_norm.weight"
    )
    assert our_name("feature_extractor.conv_layers.3.2.1.weight") == (
        "feature_extractor.conv_layers.3.layer_norm.weight"
    )
    assert our_name("encoder.layers.1.self_attn_layer_norm.bias") == (
        "encoder.layers.1.layer_norm.bias"
    )


def test_convolutions_are_read_without_running_them() -> None:
    convs = parse_convs("[(512,10,5)] + [(512,3,2)] * 4 + 2 * [(512,2,2)]", "here")
    assert [conv.kernel for conv in convs] == [10, 3, 3, 3, 3, 2, 2]
    for text in ("[(1, 2)]", "[(4,4,4)] * 10**9", "[(4,4,4)]" + " * 999" * 9, "print(1)", "[", "3"):
        with pytest.raises(InputError, match="conv_feature_layers"):
            parse_convs(text, "here")


# --- what is refused ------------------------------------------------------------------------


def _pickle_of_foreign_class(path: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a checkpoint with an object whose module does not exist when it is read."""
    for depth in range(1, module.count(".") + 2):
        name = ".".join(module.split(".")[:depth])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    foreign = type("Dictionary", (), {"__module__": module})
    sys.modules[module].Dictionary = foreign  # type: ignore[attr-defined]
    torch.save({"cfg": {}, "model": {}, "task_state": {"dictionaries": [foreign()]}}, path)
    monkeypatch.undo()


def test_original_fairseq_files_are_sent_to_the_converter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hubert.pt"
    _pickle_of_foreign_class(path, "fairseq.data.dictionary", monkeypatch)
    _refused(path, "fairseq", "s3prl.upstream.hubert.convert", "--output_dir", "wav2vec2.convert")
    # wav2vec2's hold no classes but an argparse.Namespace, or nothing at all.
    torch.save({"args": None, "model": {}, "optimizer_history": []}, path)
    _refused(path, "fairseq", "s3prl.upstream.hubert.convert")
    torch.save({"cfg": {"task": {}, "model": {"_name": "wav2vec2"}}, "model": {}}, path)
    _refused(path, "fairseq", "s3prl.upstream.hubert.convert")


def test_foreign_classes_are_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.ckpt"
    _pickle_of_foreign_class(path, "some_project.things", monkeypatch)
    _refused(path, "some_project.things", "refused")


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "model.pt"
    torch.save({"cfg": {}, "model": Trap()}, path)
    _refused(path)
    path.write_bytes(pickle.dumps(Trap()))
    _refused(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hi\n", b"PK not a zip"])
def test_files_of_something_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    assert str(path) in _refused(path, "model.pt")


def test_other_things_say_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"epoch": 1, "optimizer": {}}, path)
    _refused(path, "epoch, optimizer", "accepted are")
    torch.save([1, 2], path)
    _refused(path, "a list", "accepted are")
    torch.save({"config": {"hidden": 3}, "state_dict": {}}, path)
    _refused(path, "config", "wav2vec2_model")
    path.write_bytes(b"not a checkpoint")
    _refused(path)
    path.write_bytes(b"")
    _refused(path)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    _refused(text, ".txt", "accepted are")
    _refused(tmp_path / "nothing.pt", "no such file or folder")
    _refused("checkpoints/nothing.pt", "no such file or folder")


# --- torchaudio and DPHuBERT ----------------------------------------------------------------


def _torchaudio(large: bool, wavlm: bool, **changes: Any) -> tuple[dict[str, Any], nn.Module]:
    from torchaudio.models import wav2vec2_model, wavlm_model

    shape = small_shape("wavlm" if wavlm else "hubert", large)
    config: dict[str, Any] = {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": [
            (conv.width, conv.kernel, conv.stride) for conv in shape.convs
        ],
        "extractor_conv_bias": shape.conv_bias,
        "encoder_embed_dim": 48,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 2,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 80,
        "encoder_ff_interm_dropout": 0.1,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.1,
        "aux_num_out": None,
        **({"encoder_num_buckets": 320, "encoder_max_distance": 800} if wavlm else {}),
        **changes,
    }
    model = (wavlm_model if wavlm else wav2vec2_model)(**config).eval()
    peers.randomise(model)
    return config | {"normalize_waveform": False}, model


def _torchaudio_states(model: Any, waveform: Tensor) -> list[Tensor]:
    """The L - 1 states between layers, and the output (torchaudio does not return the input)."""
    with torch.no_grad():
        between = model.extract_features(waveform[None])[0][:-1]
        return [*between, model(waveform[None])[0]]


@pytest.mark.parametrize("wavlm", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_torchaudio_files(large: bool, wavlm: bool, tmp_path: Path) -> None:
    config, model = _torchaudio(large, wavlm)
    path = tmp_path / "model.pth"
    torch.save({"config": config, "state_dict": model.state_dict()}, path)
    encoder = load(path)
    expected = small_shape("wavlm" if wavlm else "hubert", large)
    assert encoder.shape == expected.model_copy(update={"padded_frames": "convolutions"})
    waveforms = noise(40_000)
    theirs = _torchaudio_states(model, waveforms[0])
    assert peers.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE


def test_torchaudio_files_that_lack_something(tmp_path: Path) -> None:
    config, model = _torchaudio(False, False)
    content = {"config": config, "state_dict": model.state_dict()}
    path = tmp_path / "model.pt"
    del config["normalize_waveform"]
    torch.save(content, path)
    with pytest.warns(UserWarning, match="no `normalize_waveform`.*--normalize yes or no"):
        assert load(path).normalize is False
    del config["encoder_num_layers"]
    torch.save(content, path)
    _refused(path, "its `config` has no 'encoder_num_layers'")


@pytest.mark.parametrize("objects", [{}, {"hyper_parameters": argparse.Namespace(seed=1)}])
def test_a_lightning_checkpoint_is_sent_to_dphuberts_script(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "epoch=1.ckpt"
    torch.save({"pytorch-lightning_version": "2.0", "state_dict": {}, **objects}, path)
    _refused(path, "PyTorch Lightning", "save_final_ckpt.py")


@pytest.mark.parametrize("large", [False, True])
def test_torchaudio_padded_batches(large: bool, tmp_path: Path) -> None:
    """torchaudio counts the frames of a padded batch by the convolutions, HuBERT's by chunks."""
    config, model = _torchaudio(large, False)
    path = tmp_path / "model.pth"
    torch.save({"config": config, "state_dict": model.state_dict()}, path)
    encoder = load(path, padding="fairseq")
    encoder = load(save(encoder, tmp_path / "folder"), padding="fairseq")
    waveforms = noise(16_000, 15_000, 400)
    with torch.no_grad():
        batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
        theirs, lengths = model(batch, torch.tensor([len(waveform) for waveform in waveforms]))
        states, counts = encoder(waveforms)
    assert counts.tolist() == lengths.tolist() == [49, 46, 1]
    for row, count in enumerate(counts.tolist()):
        own = slice(row, row + 1), slice(count)
        assert peers.largest_difference([states[-1][own]], [theirs[own]]) <= TOLERANCE


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("encoder_num_layers", 10**9),
        ("encoder_num_heads", 10**9),
        ("encoder_head_dim", 0),
        ("encoder_pos_conv_kernel", 10**9),
        ("encoder_ff_interm_features", 10**9),
    ],
)
def test_hostile_torchaudio_files_are_refused_before_they_allocate(
    setting: str, value: int, tmp_path: Path
) -> None:
    config, model = _torchaudio(False, False)
    path = tmp_path / "model.pth"
    torch.save({"config": config | {setting: value}, "state_dict": model.state_dict()}, path)
    with little_memory():
        _refused(path, "describes no possible model")


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
        _refused(tmp_path, "config.json")


def test_a_repeated_number_is_no_tensor_of_weights(tmp_path: Path) -> None:
    config, model = _torchaudio(False, False)
    state = model.state_dict()
    name = "encoder.feature_projection.projection.weight"
    state[name] = torch.ones(1).expand_as(state[name])
    torch.save({"config": config, "state_dict": state}, tmp_path / "model.pth")
    _refused(tmp_path / "model.pth", name, "larger than what is stored")


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where more than 20 MB of Python objects are made inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_torchaudio_head_needs_labels(tmp_path: Path) -> None:
    config, model = _torchaudio(False, False, aux_num_out=3)
    path = tmp_path / "model.pth"
    content = {"config": config, "state_dict": model.state_dict()}
    torch.save(content, path)
    with pytest.warns(UserWarning, match="left out"):
        assert load(path).head is None
    torch.save(content | {"labels": ["-", "a"]}, path)
    _refused(path, "2 labels", "3 outputs")
    torch.save(content | {"labels": ["-", "a", "b"]}, path)
    encoder = load(path)
    assert encoder.head is not None
    assert (encoder.head.vocabulary, encoder.head.blank) == (("-", "a", "b"), 0)
    (waveform,) = noise(6_000)
    with torch.no_grad():
        ours = encoder.head(encoder([waveform])[0][-1])
        theirs = model(waveform[None])[0]
    assert peers.largest_difference([ours], [theirs]) <= TOLERANCE


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
    config, model = _torchaudio(large, wavlm)
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
    theirs = _torchaudio_states(model, waveforms[0])
    assert peers.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE

    mask = torch.linspace(0.2, 1.0, 56)
    tensors["feature_extractor.dummy_weight"] = mask
    model.feature_extractor.register_forward_hook(  # type: ignore[union-attr]
        lambda _module, _inputs, output: (output[0] * mask, output[1])
    )
    torch.save(content, path)
    encoder = load(path)
    assert encoder.shape.feature_scale
    theirs = _torchaudio_states(model, waveforms[0])
    assert peers.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE
    torch.save(
        content | {"config": content["config"] | {"encoder_prune_attention_layer": True}}, path
    )
    _refused(path, "encoder_prune_attention_layer", "prune.py")


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("wavlm", [False, True])
def test_dphubert_files_without_whole_blocks(wavlm: bool, layer: int, tmp_path: Path) -> None:
    config, model = _torchaudio(False, wavlm)
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
    theirs = _torchaudio_states(model, waveforms[0])
    assert peers.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE
