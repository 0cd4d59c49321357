from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio import open_audio
from s3prl_compress.common.errors import InputError

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


def test_files_that_are_too_short_are_left_out_and_counted(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    own.symlink_to(tones)  # a note is printed once, and other tests open `tones`, too
    table = tmp_path / "metadata.csv"
    names = sorted(path.relative_to(tmp_path) for path in own.glob("*/*"))
    table.write_text("file\n" + "".join(f"{name}\n" for name in names))
    assert len(open_audio(table, minimum_samples=2 * RATE).files) == 3
    note = f"note: {tmp_path}: 5 of 8 audio files are shorter than 32000 samples and are skipped\n"
    assert note in capsys.readouterr().err
    with pytest.raises(InputError, match="none of 8 audio files has 160000 samples or more"):
        open_audio(table, minimum_samples=10 * RATE)


def test_faults_are_counted_and_named(tmp_path: Path) -> None:
    for name in ("a.wav", "b.flac", "c.wav"):
        (tmp_path / name).write_bytes(b"nothing")
    (tmp_path / "metadata.csv").write_text("file\nabsent.wav\na.wav\nb.flac\n")
    with pytest.raises(InputError) as caught:
        open_audio(tmp_path)
    text = str(caught.value)
    assert "missing file: 1 (absent.wav)" in text
    assert "unreadable file: 2 (a.wav, b.flac)" in text
    assert "\n" not in text


def test_other_rates_and_channels_are_taken(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(4410, 0.5), 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", np.full((800, 2), [0.5, 0.25]), 8000, subtype="DOUBLE")
    soundfile.write(tmp_path / "c.wav", np.full(44, 0.5), 44_100)
    audio = open_audio(tmp_path, minimum_samples=16)
    assert (audio.files, audio.lengths) == (("a.wav", "b.wav", "c.wav"), (1600, 1600, 16))
    torch.testing.assert_close(audio.read(0, 400, 800), torch.full((800,), 0.5), rtol=0, atol=2e-3)
    torch.testing.assert_close(
        audio.read(1, 400, 800), torch.full((800,), 0.375), rtol=0, atol=2e-3
    )
    assert open_audio(tmp_path, minimum_samples=17).files == ("a.wav", "b.wav")


@pytest.mark.parametrize("content", [None, "seconds\n1.0\n", "file\n", "file\nmissing.wav\n"])
def test_nothing_to_train_on(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(InputError, match=r"no audio|no column file|no rows|missing file: 1"):
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


def test_a_selection_is_part_of_what_a_history_says(tmp_path: Path) -> None:
    for part in ("train-clean-100", "dev-clean"):
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / part / "a.wav", np.full(1000, 0.1), RATE)
    audio = open_audio(tmp_path)
    text = audio.described(tmp_path)
    assert text == f"{tmp_path.name}, train-clean-100 (sha256 {audio.fingerprint()})"
    assert audio.subset([0]).selection == "train-clean-100"


def test_a_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def fingerprint(value: float, place: str, changed: int = 0) -> str:
        path = tmp_path / place / "a.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(1000, value), RATE)
        os.utime(path, (changed, changed))
        return open_audio(tmp_path / place).fingerprint()

    one = fingerprint(0.1, "one")
    assert fingerprint(0.1, "two") == one
    assert fingerprint(0.2, "three") != one  # as long, under the same name
    assert fingerprint(0.2, "one", changed=1) == fingerprint(0.2, "three")


def test_a_file_is_hashed_once(tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = open_audio(tones)
    before = audio.fingerprint()
    monkeypatch.setattr("builtins.open", None)
    assert open_audio(tones).fingerprint() == before
    assert audio.subset([1, 3]).contents() == (audio.contents()[1], audio.contents()[3])


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), RATE)
    audio = open_audio(tmp_path)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav: cannot be read"):
        audio.fingerprint()


def test_silence_is_refused_where_it_is_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        soundfile.write(tmp_path / f"{number:02}.wav", np.zeros(1000), RATE)
    with pytest.raises(InputError, match=r"digital silence in 14 of 14 .*first: 00\.wav"):
        open_audio(tmp_path).check_audible()
    soundfile.write(tmp_path / "39.wav", np.full(1000, 0.01), RATE)
    open_audio(tmp_path).check_audible()
    assert "note: " in capsys.readouterr().err
