from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from s3prl_compress.audio import open_audio
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, dense_shape, random_encoder
from s3prl_compress.pretraining.targets import (
    HiddenTargets,
    MFCCTargets,
    Targets,
    frame_features,
    hidden_states,
    load_targets,
    make_targets,
    mfcc,
    save_targets,
)

TINY = NAMED_SHAPES["hubert_tiny"]


@pytest.mark.parametrize("samples", [400, 719, 720, 1040, 16_000, 16_319, 23_456])
def test_one_row_of_mfcc_per_frame_of_the_encoder(samples: int) -> None:
    features = mfcc(torch.randn(samples), TINY)
    assert features.shape == (TINY.frames(samples), 39)
    assert np.isfinite(features).all()


def test_a_frame_has_the_mfcc_of_its_own_samples() -> None:
    wave = torch.randn(8000)
    changed = wave.clone()
    changed[320 * 7 : 320 * 7 + 400] += torch.randn(400)
    moved = np.abs(mfcc(wave, TINY)[:, :13] - mfcc(changed, TINY)[:, :13]).max(axis=1)
    # Frames 6 and 8 share 80 samples with frame 7.
    assert set(np.flatnonzero(moved > 1e-4)) == {6, 7, 8}
    assert moved.argmax() == 7


def test_a_crop_at_a_frame_has_the_file_s_mfcc() -> None:
    wave = torch.randn(16_000)
    whole, crop = mfcc(wave, TINY), mfcc(wave[3200:9600], TINY)
    np.testing.assert_allclose(crop[:, :13], whole[10 : 10 + len(crop), :13], atol=1e-3)


def test_a_crop_of_targets_matches_the_frames_of_its_samples() -> None:
    targets = Targets((np.arange(49, dtype=np.int16), np.zeros(3, dtype=np.int16)), 50)
    frames = TINY.frames(6400)
    assert targets.crop(0, 3200, frames, 320).tolist() == list(range(10, 10 + frames))
    assert targets.crop(0, 0, 2, 320).dtype == torch.int64
    assert targets.subset([1]).labels[0].tolist() == [0, 0, 0]


def test_clusters_tell_tones_apart(tones: Path) -> None:
    audio = open_audio(tones)
    settings = MFCCTargets(clusters=8, fit_frames=300, restarts=2)
    targets, means = make_targets(audio, lambda wave: mfcc(wave, TINY), settings, seed=0)
    assert [len(labels) for labels in targets.labels] == [TINY.frames(n) for n in audio.lengths]
    assert means.shape == (8, 39)
    assert len(np.unique(np.concatenate(targets.labels))) == 8
    # A pitch is held for 12 frames: labels change seldom.
    changes = np.mean([np.mean(labels[1:] != labels[:-1]) for labels in targets.labels])
    assert changes < 0.4
    again, _ = make_targets(audio, lambda wave: mfcc(wave, TINY), settings, seed=0)
    assert all(map(np.array_equal, targets.labels, again.labels))


def test_hidden_states_are_the_encoder_s() -> None:
    encoder = random_encoder(TINY).eval()
    wave = torch.randn(4000)
    expected = encoder([wave])[0][1][0].detach().numpy()
    np.testing.assert_allclose(hidden_states(encoder, 1)(wave), expected, atol=1e-5)
    with pytest.raises(InputError, match="no hidden state 3"):
        hidden_states(encoder, 3)


def test_what_cannot_be_clustered(tones: Path) -> None:
    with pytest.raises(InputError, match="no previous model"):
        frame_features(HiddenTargets(layer=1), TINY, None)
    fast = dense_shape("hubert", conv_strides=(5, 2, 2, 2, 2, 2, 1))
    with pytest.raises(InputError, match="frames of this model"):
        frame_features(MFCCTargets(), fast.model_copy(update={"convs": fast.convs[:2]}), None)
    few = open_audio(tones).subset([0])
    with pytest.raises(InputError, match="too few for 100"):
        make_targets(few, lambda wave: mfcc(wave, TINY), MFCCTargets(), seed=0)


def test_targets_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "targets.safetensors"
    targets = Targets((np.arange(4, dtype=np.int16), np.array([7], dtype=np.int16)), 9)
    save_targets(path, targets, np.zeros((9, 39), dtype=np.float32), "this run")
    loaded = load_targets(path, "this run")
    assert loaded is not None
    assert loaded.clusters == 9
    assert [labels.tolist() for labels in loaded.labels] == [[0, 1, 2, 3], [7]]
    assert load_targets(path, "another run") is None
    assert load_targets(tmp_path / "none", "this run") is None
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        load_targets(path, "this run")
