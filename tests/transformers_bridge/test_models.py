"""A checkpoint folder is a model of transformers that computes what `load` gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCTC, HubertForCTC, pipeline

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import SpeechEncoder, fingerprint, load, random_encoder, save
from s3prl_compress.encoder.ctc_text import decode
from s3prl_compress.encoder.exporters.transformers import export_transformers
from s3prl_compress.encoder.named_shapes import whisper_shape
from s3prl_compress.encoder.shape import dense_layer
from s3prl_compress.training.ctc import add_head
from s3prl_compress.transformers_bridge import CompressedSpeechForCTC, CompressedSpeechModel

from ..encoder.exported.models import odd_encoder
from ..support.baselines import NAMES, VARIANTS, small_encoder, small_shape

STAND_IN = Path(__file__).parents[2] / "s3prl_compress" / "s3prl_bridge" / "torchaudio_stand_in.py"


def a_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(3, 9000, dtype=torch.long)
    mask[1, 4000:] = 0
    mask[2, 7123:] = 0
    waveforms = 0.1 * torch.randn(3, 9000, generator=generator) * mask
    return {"input_values": waveforms, "attention_mask": mask}


def assert_equal_states(model: CompressedSpeechModel, encoder: SpeechEncoder) -> None:
    batch = a_batch()
    lengths = batch["attention_mask"].sum(-1)
    waveforms = [row[:end] for row, end in zip(batch["input_values"], lengths, strict=True)]
    with torch.no_grad():
        expected, frames = encoder(waveforms)
        given = model(**batch, output_hidden_states=True)
    assert len(given.hidden_states) == len(expected)
    for own, other in zip(expected, given.hidden_states, strict=True):
        assert torch.equal(own, other)
    assert torch.equal(given.last_hidden_state, expected[-1])
    assert torch.equal(model._get_feat_extract_output_lengths(lengths), frames)


@pytest.mark.parametrize(("family", "large"), VARIANTS, ids=NAMES)
def test_each_family_loads_equal(family: str, large: bool, tmp_path: Path) -> None:
    encoder = small_encoder(family, large, normalize=large)
    folder = save(encoder, tmp_path / "model")
    assert_equal_states(AutoModel.from_pretrained(folder), encoder)


def test_every_shape_loads_equal(tmp_path: Path) -> None:
    encoder = odd_encoder()
    folder = save(encoder, tmp_path / "model")
    model, nothing = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not any(nothing.values())
    assert type(model) is CompressedSpeechModel
    assert not model.training
    assert model.config.hidden_size == encoder.shape.hidden
    assert_equal_states(model, encoder)


@pytest.fixture(name="tuned")
def _tuned() -> SpeechEncoder:
    """A HuBERT with a head, whose blank is not symbol 0."""
    encoder = random_encoder(small_shape("hubert", large=False), seed=3)
    add_head(encoder, ["HELLO ALL"], seed=0)
    head = encoder.head
    assert head is not None
    head.vocabulary = (*head.vocabulary[1:], head.vocabulary[0])
    head.blank = len(head.vocabulary) - 1
    with torch.no_grad():
        head.linear.weight.mul_(30)
    return encoder.eval()


def test_a_head_gives_the_text_and_the_loss_that_transformers_gives(
    tuned: SpeechEncoder, tmp_path: Path
) -> None:
    assert tuned.head is not None
    folder = save(tuned, tmp_path / "model")
    model = AutoModelForCTC.from_pretrained(folder)
    assert type(model) is CompressedSpeechForCTC
    exported = export_transformers(tuned, tmp_path / "exported")
    theirs = HubertForCTC.from_pretrained(exported, ctc_loss_reduction="mean").eval()
    waveforms = a_batch()["input_values"][:1]
    labels = torch.tensor([[3, 2, 2, 1, -100]])
    with torch.no_grad():
        own, other = model(waveforms, labels=labels), theirs(waveforms, labels=labels)
    assert torch.allclose(own.logits, other.logits, atol=1e-4)
    assert float(own.loss) == pytest.approx(float(other.loss), rel=1e-4)
    recognise = pipeline("automatic-speech-recognition", model=str(folder))
    text = recognise({"raw": waveforms[0].numpy(), "sampling_rate": 16_000})["text"]
    assert text == decode(
        own.logits[0].argmax(-1).tolist(), tuned.head.vocabulary, tuned.head.blank
    )
    assert len(text) > 3


def test_without_the_package_the_folders_own_file_loads_it(
    tuned: SpeechEncoder, tmp_path: Path
) -> None:
    folder = save(tuned, tmp_path / "model")
    program = f"""
import importlib.util, sys
# What the package itself does for torchaudio, without importing the package.
found = importlib.util.spec_from_file_location("stand_in", {str(STAND_IN)!r})
stand_in = importlib.util.module_from_spec(found)
found.loader.exec_module(stand_in)
stand_in.ensure_torchaudio_on_import()
from transformers import AutoModelForCTC, pipeline
assert "s3prl_compress" not in sys.modules
model = AutoModelForCTC.from_pretrained({str(folder)!r}, trust_remote_code=True)
assert type(model).__name__ == "CompressedSpeechForCTC"
recognise = pipeline("automatic-speech-recognition", {str(folder)!r}, trust_remote_code=True)
assert recognise.model.config.model_type == "s3prl_compress"
"""
    # The home is that of a user who has never loaded such a folder.
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_saving_from_transformers_gives_a_checkpoint_of_ours(
    tuned: SpeechEncoder, tmp_path: Path
) -> None:
    folder = save(tuned, tmp_path / "model")
    model = AutoModelForCTC.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    assert fingerprint(load(tmp_path / "again")) == fingerprint(load(folder))
    half = AutoModelForCTC.from_pretrained(folder, dtype="bfloat16", device_map="cpu")
    assert half.dtype == torch.bfloat16
    half.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
    with pytest.raises(TypeError, match="upload the folder"):
        model.save_pretrained(tmp_path / "again", push_to_hub=True)


def test_training_reaches_every_weight(tuned: SpeechEncoder, tmp_path: Path) -> None:
    model = AutoModelForCTC.from_pretrained(save(tuned, tmp_path / "model")).train()
    model(**a_batch(), labels=torch.tensor([[1, 2], [3, -100], [2, 2]])).loss.backward()
    without = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert without == {"encoder.masked_spec_embed"}


def test_a_config_gives_a_model_with_random_weights(tuned: SpeechEncoder, tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(save(tuned, tmp_path / "model"))
    model = AutoModelForCTC.from_config(config)
    assert model(**a_batch()).logits.shape[2] == config.vocab_size


def test_a_model_on_the_hub(
    tuned: SpeechEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tuned, tmp_path / "model")
    asked: list[Any] = []

    def download(name: str, **options: Any) -> str:
        asked.append((name, options["revision"]))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = CompressedSpeechModel.from_pretrained("someone/small", revision="v1", config=None)
    assert asked == [("someone/small", "v1")]
    assert_equal_states(model, tuned)


def test_folders_of_the_first_format_still_load(tuned: SpeechEncoder, tmp_path: Path) -> None:
    folder = save(tuned, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    old = ("format", "shape", "normalize", "normalize_eps", "sampling_rate", "stored_as", "head")
    kept = {key: config[key] for key in (*old, "provenance")} | {"format_version": 1}
    (folder / "config.json").write_text(json.dumps(kept))
    assert fingerprint(load(folder)) == fingerprint(tuned)


def test_what_is_not_supported_says_so(tmp_path: Path) -> None:
    folder = save(small_encoder("hubert", False), tmp_path / "model")
    with pytest.raises(InputError, match="no CTC head; load it by AutoModel"):
        CompressedSpeechForCTC.from_pretrained(folder)
    with pytest.raises(TypeError, match="quantization_config is not supported"):
        AutoModel.from_pretrained(folder, quantization_config={"bits": 4})
    with pytest.raises(TypeError, match="one device"):
        AutoModel.from_pretrained(folder, device_map={"encoder": "cpu"})
    model = AutoModel.from_pretrained(folder, output_hidden_states=True)
    with pytest.raises(ValueError, match="do not return them"):
        model(**a_batch(), output_attentions=True)
    assert len(model(**a_batch()).hidden_states) == 3
    assert len(model(**a_batch(), return_dict=False)) == 2


def test_whispers_encoder_loads_equal(tmp_path: Path) -> None:
    shape = whisper_shape(hidden=48, heads=4, layers=[dense_layer(4, 12, 80)] * 2)
    encoder = random_encoder(shape)
    folder = save(encoder, tmp_path / "model")
    assert_equal_states(AutoModel.from_pretrained(folder), encoder)
