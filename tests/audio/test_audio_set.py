from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio import open_audio
from s3prl_compress.errors import InputError

RATE = 16_000


def test_a_folder_is_searched_and_sorted(tones: Path) -> None:
    audio = open_audio(tones)
    assert len(audio.files) == 8
    assert list(audio.files) == sorted(audio.files)
    assert audio.seconds == pytest.approx(8 + sum(range(8)) * 3571 / RATE)


def test_a_table_says_which_files(tones: Path, tmp_path: Path) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text(f"file,seconds\n{tones}/speaker1/1.flac,1.2\n{tones}/speaker0/2.flac,1.4\n")
    assert len(open_audio(table).files) == 2
    assert open_audio(tmp_path).files == open_audio(table).files  # found in its folder


def test_files_that_are_too_short_are_left_out(tones: Path) -> None:
    assert len(open_audio(tones, minimum_samples=2 * RATE).files) == 3


def test_faults_are_counted_and_named(tones: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "b.wav", np.zeros(8000), 8000)
    soundfile.write(tmp_path / "c.wav", np.zeros((16000, 2)), 16000)
    (tmp_path / "d.wav").write_bytes(b"nothing")
    with pytest.raises(InputError) as caught:
        open_audio(tmp_path)
    text = str(caught.value)
    assert "2 not of 16000 Hz (first: a.wav)" in text
    assert "1 not mono (first: c.wav)" in text
    assert "1 unreadable (first: d.wav)" in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [None, "seconds\n1.0\n", "file\n", "file\nmissing.wav\n"])
def test_nothing_to_train_on(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(InputError, match=r"no audio|`file`|1 missing"):
        open_audio(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        open_audio(tmp_path / "elsewhere")


def test_held_audio_is_what_is_read(tones: Path) -> None:
    audio = open_audio(tones)
    held = audio.hold()
    torch.testing.assert_close(held.read(3, 3200, 800), audio.read(3, 3200, 800), rtol=0, atol=0)
    expected, _ = soundfile.read(tones / audio.files[3], dtype="float32")
    np.testing.assert_allclose(held.read(3).numpy(), expected, atol=1e-7)


def test_a_file_that_shrank_is_noticed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), RATE)
    audio = open_audio(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(900), RATE)
    with pytest.raises(InputError, match="changed"):
        audio.read(0)
