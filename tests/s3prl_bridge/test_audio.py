from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio.clips import read_wave
from s3prl_compress.common.errors import InputError
from s3prl_compress.s3prl_bridge import audio

KEYWORD_CHAIN = [["channels", "1"], ["rate", "16000"], ["gain", "-3.0"]]


def _file(folder: Path, channels: int = 1, rate: int = 16_000, subtype: str = "PCM_16") -> Path:
    wave = np.random.default_rng(0).uniform(-1, 1, (4000, channels))
    path = folder / f"{channels}_{rate}_{subtype}.wav"
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


@pytest.mark.skipif(shutil.which("sox") is None, reason="sox is not installed")
@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (1, "PCM_24"), (2, "PCM_16")])
def test_the_keyword_chain_equals_sox(tmp_path: Path, channels: int, subtype: str) -> None:
    path, out = _file(tmp_path, channels, subtype=subtype), tmp_path / "out.wav"
    effects = [part for effect in KEYWORD_CHAIN for part in effect]
    subprocess.run(["sox", path, "-e", "float", "-b", "32", out, *effects], check=True)
    expected, _ = soundfile.read(out, dtype="float32", always_2d=True)
    wave, rate = audio.apply_effects_file(path, KEYWORD_CHAIN)
    assert rate == 16_000
    assert wave.shape == (1, 4000)
    assert (wave.T - torch.from_numpy(expected)).abs().max() <= 6e-8


def test_both_engines_hear_what_the_command_line_hears(tmp_path: Path) -> None:
    path = _file(tmp_path)
    wave, _ = audio.apply_effects_file(path, KEYWORD_CHAIN)
    assert (wave[0] - read_wave(path)).abs().max() <= 6e-8


def test_resampling_and_unknown_effects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1_8000_PCM_16\.wav: is sampled at 8000 Hz"):
        audio.apply_effects_file(_file(tmp_path, rate=8000), KEYWORD_CHAIN)
    with pytest.raises(InputError, match="reverb"):
        audio.apply_effects_tensor(torch.zeros(1, 100), 16_000, [["reverb"]])
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(InputError, match=r"text\.wav: cannot read"):
        audio.apply_effects_file(tmp_path / "text.wav", KEYWORD_CHAIN)


def test_files_are_read_written_and_described_as_by_torchaudio(tmp_path: Path) -> None:
    wave = torch.rand(2, 320) - 0.5
    audio.save(tmp_path / "a.wav", wave, 16_000, encoding="PCM_S", bits_per_sample=16)
    found, rate = audio.load(tmp_path / "a.wav")
    assert (found.shape, found.dtype, rate) == ((2, 320), torch.float32, 16_000)
    assert (found - wave).abs().max() < 1e-4
    part, _ = audio.load(tmp_path / "a.wav", frame_offset=10, num_frames=5, channels_first=False)
    assert torch.equal(part, found[:, 10:15].T)
    described = audio.information(tmp_path / "a.wav")
    assert (described.sample_rate, described.num_frames, described.num_channels) == (16_000, 320, 2)
    assert (described.bits_per_sample, described.encoding) == (16, "PCM_16")


def test_samples_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    wave = np.full((100, 2), 0.1)
    wave[16, 1] = np.inf
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    with pytest.raises(InputError, match=r"a\.wav: holds samples that are NaN .*at 0\.001 s"):
        audio.apply_effects_file(tmp_path / "a.wav", KEYWORD_CHAIN)
