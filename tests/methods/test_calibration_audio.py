from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio import open_audio
from s3prl_compress.common.errors import InputError
from s3prl_compress.methods import check_settings
from s3prl_compress.methods.calibration_audio import waveforms


def tone(path: Path, rate: int, seconds: float, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(rate * seconds)) / rate
    samples = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate)


def give(folder: Path, seconds: float = 100, seed: int = 0) -> list[torch.Tensor]:
    audio = open_audio(folder, minimum_samples=1)
    return list(waveforms(audio, seconds=seconds, minimum_samples=400, seed=seed))


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_other_rates_and_channels_are_heard(tmp_path: Path, rate: int) -> None:
    tone(tmp_path / "a.wav", rate, 1.0, channels=2)
    (samples,) = give(tmp_path)
    assert samples.dtype == torch.float32
    assert len(samples) == 16_000
    assert int(torch.fft.rfft(samples).abs().argmax()) == 440


def test_long_files_are_cut_and_the_total_is_kept_to(tmp_path: Path) -> None:
    tone(tmp_path / "long.wav", 16_000, 20)
    tone(tmp_path / "short.wav", 16_000, 0.01)
    assert sorted(len(part) for part in give(tmp_path)) == [80_000, 240_000]
    assert sum(len(part) for part in give(tmp_path, seconds=3)) == 48_000


def test_the_choice_of_files_follows_the_seed(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for number in range(6):
        tone(tmp_path / "below" / f"{number}.wav", 16_000, 0.1 + 0.1 * number)
    orders = [[len(part) for part in give(tmp_path, seed=seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_a_history_names_audio_by_what_is_in_it_and_not_by_its_place(tmp_path: Path) -> None:
    def recorded(folder: Path) -> str:
        return str(check_settings("low_rank", {"audio": folder}).recorded()["audio"])

    for place in ("here", "there"):
        tone(tmp_path / place / "speech" / "a.wav", 16_000, 0.5)
    one, two = (recorded(tmp_path / place / "speech") for place in ("here", "there"))
    assert one == two
    assert one.startswith("speech (sha256 ")
    tone(tmp_path / "there" / "speech" / "b.wav", 16_000, 0.5)
    assert recorded(tmp_path / "there" / "speech") != one


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    tone(tmp_path / "short.wav", 16_000, 0.01)
    with pytest.raises(InputError, match="no file in it is as long as 400 samples"):
        give(tmp_path)
    soundfile.write(tmp_path / "short.wav", np.zeros(16_000), 16_000)
    with pytest.raises(InputError, match=r"digital silence in 1 of 1 audio files .*short\.wav"):
        give(tmp_path)
