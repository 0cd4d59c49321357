from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import load as load_encoder
from s3prl_compress.encoder import named_shape, random_encoder
from s3prl_compress.encoder import save as save_encoder
from s3prl_compress.whisper import Whisper, compress, is_whisper, load, save
from s3prl_compress.whisper.cost import cost

from .small import MODES, logits, small_folder, tokens


@pytest.mark.parametrize("mode", MODES)
def test_without_compression_the_tokens_are_those_of_transformers(
    folder: Path, reference: WhisperForConditionalGeneration, mode: str, tmp_path: Path
) -> None:
    again = load(save(load(folder), tmp_path / "own"))
    assert torch.equal(tokens(again.model, mode), tokens(reference, mode))


def test_without_compression_the_logits_are_those_of_transformers(
    dense: Whisper, reference: WhisperForConditionalGeneration
) -> None:
    assert torch.equal(logits(dense.model), logits(reference))
    assert dense.model.generation_config.to_dict() == reference.generation_config.to_dict()


@pytest.mark.parametrize("method", ["clustering", "magnitude", "low_rank"])
def test_a_folder_gives_the_same_model_again(method: str, dense: Whisper, tmp_path: Path) -> None:
    smaller = compress(dense, method, sparsity=0.3)
    again = load(save(smaller, tmp_path / "own"))
    assert again.shape == smaller.shape
    assert again.provenance == smaller.provenance
    assert torch.equal(logits(again.model), logits(smaller.model))
    for mode in ("greedy", "timestamps"):
        assert torch.equal(tokens(again.model, mode), tokens(smaller.model, mode))
    assert not again.model.training


def test_the_folder_holds_the_files_of_the_source(folder: Path, tmp_path: Path) -> None:
    own = save(load(folder), tmp_path / "own")
    for name in ("generation_config.json", "vocab.json", "preprocessor_config.json"):
        assert (own / name).read_bytes() == (folder / name).read_bytes()
    assert WhisperFeatureExtractor.from_pretrained(own).feature_size == 8
    assert {path.suffix for path in own.iterdir()} == {".json", ".safetensors"}


def test_the_embedding_is_stored_once(dense: Whisper, tmp_path: Path) -> None:
    own = save(dense, tmp_path / "own")
    assert "proj_out.weight" not in load_file(own / "model.safetensors")
    again = load(own).model
    assert again.proj_out.weight is again.model.decoder.embed_tokens.weight


def test_half_precision_rounds_the_weights(dense: Whisper, tmp_path: Path) -> None:
    own = save(dense, tmp_path / "own", dtype=torch.float16)
    again = load(own).model
    for name, tensor in dense.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float())
    assert cost(load(own)).bytes == 2 * cost(dense).parameters == cost(dense).bytes // 2


def test_a_model_without_the_output_projection_is_read(folder: Path, tmp_path: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    model.model.save_pretrained(tmp_path / "bare")
    assert torch.equal(logits(load(tmp_path / "bare").model), logits(model.eval()))


def test_distilled_models_have_stacks_of_unequal_depth(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "distil", encoder_layers=4, decoder_layers=1)
    reference = WhisperForConditionalGeneration.from_pretrained(source).eval()
    assert torch.equal(tokens(load(source).model, "greedy"), tokens(reference, "greedy"))


@pytest.mark.parametrize("method", ["clustering", "low_rank"])
def test_truncated_weights_are_one_line(method: str, dense: Whisper, tmp_path: Path) -> None:
    own = save(compress(dense, method, sparsity=0.2), tmp_path / "own")
    weights = own / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read") as caught:
        load(own)
    assert "\n" not in str(caught.value)


def test_truncated_weights_of_transformers_are_one_line(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "hf")
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged") as caught:
        load(source)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(dense: Whisper, tmp_path: Path) -> None:
    own = save(dense, tmp_path / "own")
    tensors = load_file(own / "model.safetensors")
    name = "model.decoder.layers.0.encoder_attn.k_proj.weight"
    tensors[name] = tensors[name][:8].contiguous()
    save_file(tensors, own / "model.safetensors")
    with pytest.raises(InputError, match=r"encoder_attn\.k_proj\.weight has the size \[8, 32\]"):
        load(own)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("shape", "hidden"), 10**9, "shape.hidden: must be less than"),
        (("shape", "vocabulary"), 0, "shape.vocabulary"),
        (("shape", "decoder"), [], "shape.decoder"),
        (("shape", "encoder", 0, "heads", 0, "qk"), 99, "encoder layer 0: .*head 0 has sizes 99"),
        (("shape", "encoder", 0, "heads"), [], "at least one head"),
        (("shape", "cross_attention", 0, "ffn"), 3, "decoder cross-attention 0: .* no FFN"),
        (("shape", "encoder", 0, "fc1"), {"kind": "sparse", "nonzeros": 3}, "dense or low_rank"),
        (("settings", "auto_map"), "code", "settings: no such key 'auto_map'"),
        (("settings", "activation_function"), "no", "transformers refuses it"),
        (("format_version",), 2, "format version 2"),
        (("more",), 1, "more: no such key"),
    ],
)
def test_a_config_that_is_impossible_is_one_line(
    path: tuple[str | int, ...], value: object, message: str, dense: Whisper, tmp_path: Path
) -> None:
    own = save(dense, tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message) as caught:
        load(own)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "hubert"}, "model_type is 'hubert'; accepted are"),
        ({"d_model": 30}, "hidden 30 cannot be divided among 4 heads"),
        ({"encoder_layers": 10**6}, "encoder_layers is 1000000"),
        ({"decoder_ffn_dim": "many"}, "decoder_ffn is 'many'"),
        ({"tie_word_embeddings": False}, "of their own"),
        ({"encoder_layers": 1}, r"layers\.1.* does not belong"),
        ({"encoder_layers": 3}, r"layers\.2.* is missing"),
    ],
)
def test_a_config_of_transformers_that_does_not_fit_is_one_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    source = small_folder(tmp_path / "hf")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        '{"alignment_heads": 0.5}',
        '{"alignment_heads": [[0, 1, 2]]}',
        '{"alignment_heads": [0]}',
    ],
)
def test_a_damaged_generation_config_is_one_line(content: str, tmp_path: Path) -> None:
    source = small_folder(tmp_path / "hf")
    (source / "generation_config.json").write_text(content)
    with pytest.raises(InputError, match=r"generation_config\.json: ") as caught:
        load(source)
    assert "\n" not in str(caught.value)


def test_what_is_not_whisper_is_refused_and_not_recognised(folder: Path, tmp_path: Path) -> None:
    encoder = save_encoder(random_encoder(named_shape("hubert_tiny")), tmp_path / "encoder")
    (tmp_path / "text.pt").write_text("no")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    for source in (encoder, tmp_path / "nothing", tmp_path / "other.pt", tmp_path / "text.pt"):
        assert not is_whisper(source)
        with pytest.raises(InputError) as caught:
            load(source)
        assert "\n" not in str(caught.value)
    assert is_whisper(folder)


def test_its_encoder_is_an_upstream(folder: Path, dense: Whisper, tmp_path: Path) -> None:
    for source in (folder, save(dense, tmp_path / "own")):
        assert is_whisper(source)
        assert load_encoder(source).shape.family == "whisper"


def test_nothing_is_written_over_other_folders_or_with_weights_that_are_not_finite(
    folder: Path, tmp_path: Path
) -> None:
    whisper = load(folder)
    with pytest.raises(InputError, match="exists and is not a checkpoint"):
        save(whisper, folder)
    with torch.no_grad():
        whisper.model.model.encoder.conv1.weight[0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"not written: tensor model\.encoder\.conv1\.weight"):
        save(whisper, tmp_path / "own")
    assert list(tmp_path.iterdir()) == []
