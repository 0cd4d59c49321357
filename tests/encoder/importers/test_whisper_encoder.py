"""The encoders of Whisper models in all formats, against transformers' modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForAudioClassification

from s3prl_compress import whisper
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, describe, fingerprint, load
from s3prl_compress.encoder.cost import nonzero_parameters

from ...support.baselines import baselines, noise
from ...whisper.small import small_folder
from ...whisper.test_openai_pt import openai_file
from .files import edit_json, refused, to_pickle, weights_of

SAMPLES = 9_000
POSITIONS = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whisper_encoder") / "hf"
    return small_folder(path, max_source_positions=POSITIONS)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def their_states(model: Any, waveform: Tensor) -> list[Tensor]:
    """Return the L + 1 states of transformers' modules, whatever has been cut from them."""
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    values = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        output = model.encoder(values["input_features"], output_hidden_states=True)
    count = round(len(waveform) / 320)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    return [state[:, :count] for state in states]


def assert_equal(encoder: SpeechEncoder, model: Any) -> None:
    (waveform,) = noise(SAMPLES)
    with torch.no_grad():
        ours, counts = encoder([waveform])
    assert counts.tolist() == [28]
    theirs = their_states(model, waveform)
    assert baselines.largest_difference(list(ours), theirs) <= 1e-5


def test_a_folder_of_transformers(folder: Path) -> None:
    encoder = load(folder)
    assert_equal(encoder, whisper.load(folder).model.model)
    assert encoder.shape.family == "whisper"
    assert not encoder.normalize
    assert encoder.provenance.base == str(folder)
    description = describe(encoder, "small", str(folder))
    assert description.front_end == {"mel_bins": 8, "pad": "full"}


CHAINS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "nothing": [],
    "unequal FFNs and heads": [("clustering", {"sparsity": 0.15, "units": "ffn,qk,vo"})],
    "fewer heads": [("magnitude", {"sparsity": 0.05, "units": "head,ffn"})],
    "encoder only": [("clustering", {"sparsity": 0.02, "part": "encoder"})],
    "factors": [("clustering", {"sparsity": 0.1}), ("low_rank", {"sparsity": 0.1})],
    "fewer layers": [("layers", {"keep": 1})],
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_compressed_folder_of_ours(name: str, folder: Path, tmp_path: Path) -> None:
    smaller = whisper.load(folder)
    for method, settings in CHAINS[name]:
        smaller = whisper.compress(smaller, method, **settings)
    saved = whisper.save(smaller, tmp_path / "own")
    encoder = load(saved)
    assert encoder.shape.layers == smaller.shape.encoder
    assert_equal(encoder, smaller.model.model)
    # And the embedding for masked frames, which Whisper does not have.
    assert nonzero_parameters(encoder) == whisper.count(smaller).encoder + 32
    assert encoder.provenance == smaller.provenance
    assert describe(encoder, "own", "own").base == str(folder)
    half = whisper.save(smaller, tmp_path / "half", dtype=torch.float16)
    assert_equal(load(half), whisper.load(half).model.model)


def test_an_openai_file(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    reference = openai_file(path, positions=POSITIONS)
    encoder = load(path)
    assert_equal(encoder, reference.model)
    assert encoder.provenance.base == str(path)


def test_encoders_without_decoder_pickles_and_float16(copied: Path, folder: Path) -> None:
    expected = fingerprint(load(folder))
    weights = weights_of(copied)
    to_pickle(copied, weights)
    assert fingerprint(load(copied)) == expected
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["WhisperForAudioClassification"]
    from transformers import WhisperConfig

    model = WhisperForAudioClassification(WhisperConfig(**config)).eval()
    model.encoder.load_state_dict(
        {
            name.removeprefix("model.encoder."): tensor
            for name, tensor in weights.items()
            if name.startswith("model.encoder.")
        }
    )
    model.save_pretrained(copied / "classifier")
    assert fingerprint(load(copied / "classifier")) == expected
    model.half().save_pretrained(copied / "half")
    assert load(copied / "half").dtype == torch.float32


def test_waveforms_are_normalised_where_the_extractor_says_so(copied: Path) -> None:
    edit_json(copied / "preprocessor_config.json", do_normalize=True)
    encoder = load(copied)
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    (waveform,) = noise(SAMPLES)
    values = extractor(
        waveform.numpy(), sampling_rate=16_000, do_normalize=True, return_tensors="pt"
    )
    model = whisper.load(copied).model.model
    with torch.no_grad():
        theirs = model.encoder(values["input_features"]).last_hidden_state[:, :28]
        ours, _ = encoder([3 * waveform])
    assert baselines.largest_difference([ours[-1]], [theirs]) <= 1e-4


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("config.json", "activation_function", "relu"),
        ("config.json", "encoder_attention_heads", 5),
        ("config.json", "encoder_attention_heads", 10**9),
        ("config.json", "num_mel_bins", None),
        ("config.json", "max_source_positions", -3),
        ("config.json", "max_source_positions", 10**9),
        ("config.json", "d_model", "32"),
        ("config.json", "quantization_config", {"bits": 8}),
        ("preprocessor_config.json", "hop_length", 320),
        ("preprocessor_config.json", "dither", 0.1),
    ],
)
def test_unsupported_settings_are_one_line(file: str, field: str, value: Any, copied: Path) -> None:
    edit_json(copied / file, **{field: value})
    refused(copied)


def test_damaged_weights_are_one_line(copied: Path) -> None:
    edit_json(copied / "config.json", encoder_layers=3)
    refused(copied, "encoder.layers.2", "is missing")
    (copied / "model.safetensors").write_bytes(b"damaged")
    refused(copied, "model.safetensors")


def test_a_damaged_folder_of_ours_is_one_line(folder: Path, tmp_path: Path) -> None:
    own = whisper.save(whisper.load(folder), tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    for change in ({"format_version": 2}, {"shape": {}}, {"provenance": None}):
        (own / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=r"config\.json") as caught:
            load(own)
        assert "\n" not in str(caught.value)
