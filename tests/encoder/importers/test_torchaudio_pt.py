"""torchaudio's files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.encoder import load, save

from ...support.baselines import TOLERANCE, baselines, noise, small_shape, states_of
from .files import little_memory, refused, torchaudio_model, torchaudio_states


@pytest.mark.parametrize("wavlm", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_torchaudio_files(large: bool, wavlm: bool, tmp_path: Path) -> None:
    config, model = torchaudio_model(large, wavlm)
    path = tmp_path / "model.pth"
    torch.save({"config": config, "state_dict": model.state_dict()}, path)
    encoder = load(path)
    expected = small_shape("wavlm" if wavlm else "hubert", large)
    assert encoder.shape == expected.model_copy(update={"padded_frames": "convolutions"})
    waveforms = noise(40_000)
    theirs = torchaudio_states(model, waveforms[0])
    assert baselines.largest_difference(states_of(encoder, waveforms)[1:], theirs) <= TOLERANCE


def test_torchaudio_files_that_lack_something(tmp_path: Path) -> None:
    config, model = torchaudio_model(False, False)
    content = {"config": config, "state_dict": model.state_dict()}
    path = tmp_path / "model.pt"
    del config["normalize_waveform"]
    torch.save(content, path)
    with pytest.warns(UserWarning, match="no `normalize_waveform`.*--normalize yes or no"):
        assert load(path).normalize is False
    del config["encoder_num_layers"]
    torch.save(content, path)
    refused(path, "its `config` has no 'encoder_num_layers'")


@pytest.mark.parametrize("objects", [{}, {"hyper_parameters": argparse.Namespace(seed=1)}])
def test_a_lightning_checkpoint_is_sent_to_dphuberts_script(
    objects: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "epoch=1.ckpt"
    torch.save({"pytorch-lightning_version": "2.0", "state_dict": {}, **objects}, path)
    refused(path, "PyTorch Lightning", "save_final_ckpt.py")


@pytest.mark.parametrize("large", [False, True])
def test_torchaudio_padded_batches(large: bool, tmp_path: Path) -> None:
    """torchaudio counts the frames of a padded batch by the convolutions, HuBERT's by chunks."""
    config, model = torchaudio_model(large, False)
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
        assert baselines.largest_difference([states[-1][own]], [theirs[own]]) <= TOLERANCE


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
    config, model = torchaudio_model(False, False)
    path = tmp_path / "model.pth"
    torch.save({"config": config | {setting: value}, "state_dict": model.state_dict()}, path)
    with little_memory():
        refused(path, "describes no possible model")


def test_a_repeated_number_is_no_tensor_of_weights(tmp_path: Path) -> None:
    config, model = torchaudio_model(False, False)
    state = model.state_dict()
    name = "encoder.feature_projection.projection.weight"
    state[name] = torch.ones(1).expand_as(state[name])
    torch.save({"config": config, "state_dict": state}, tmp_path / "model.pth")
    refused(tmp_path / "model.pth", name, "more elements than are stored")


def test_torchaudio_head_needs_labels(tmp_path: Path) -> None:
    config, model = torchaudio_model(False, False, aux_num_out=3)
    path = tmp_path / "model.pth"
    content = {"config": config, "state_dict": model.state_dict()}
    torch.save(content, path)
    with pytest.warns(UserWarning, match="not imported"):
        assert load(path).head is None
    torch.save(content | {"labels": ["-", "a"]}, path)
    refused(path, "2 labels", "3 outputs")
    for labels in (0.5, [1, 2, 3], "-ab"):
        torch.save(content | {"labels": labels}, path)
        refused(path, "its labels are not a list of texts")
    state = model.state_dict() | {"aux.weight": torch.ones(3, 5)}
    torch.save(content | {"state_dict": state, "labels": ["-", "a", "b"]}, path)
    refused(path, "aux has the shapes [3, 5] and [3]", "[3, 48]")
    torch.save({**content, "config": config | {"normalize_waveform": "x"}}, path)
    with pytest.warns(UserWarning, match="not imported"):
        refused(path, "normalize_waveform is a str")
    torch.save(content | {"labels": ["-", "a", "b"]}, path)
    encoder = load(path)
    assert encoder.head is not None
    assert (encoder.head.vocabulary, encoder.head.blank) == (("-", "a", "b"), 0)
    (waveform,) = noise(6_000)
    with torch.no_grad():
        ours = encoder.head(encoder([waveform])[0][-1])
        theirs = model(waveform[None])[0]
    assert baselines.largest_difference([ours], [theirs]) <= TOLERANCE
