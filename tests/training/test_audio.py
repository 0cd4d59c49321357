from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.errors import InputError
from s3prl_compress.training.audio import AudioBatches, AudioSet, open_audio, split_files

RATE = 16_000


def batches_of(audio: AudioSet, seconds: float = 0.5, seed: int = 0) -> AudioBatches:
    return AudioBatches(audio, int(seconds * RATE), 2 * RATE, seed)


def starts(batches: Iterator[tuple[list, list]], count: int) -> list:
    return [crops for crops, _ in islice(batches, count)]


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


def test_a_pass_takes_every_file_once(tones: Path) -> None:
    batches = batches_of(open_audio(tones))
    for epoch in range(3):
        plan = batches.plan(epoch)
        assert len(plan) == batches.per_pass
        crops = [crop for batch in plan for crop in batch]
        assert {crop.file for crop in crops} == set(range(8))
        covered = {
            (crop.file, sample)
            for crop in crops
            for sample in range(crop.start, crop.start + crop.samples)
        }
        assert len(covered) == sum(crop.samples for crop in crops)  # no sample twice
        assert all(crop.start % 320 == 0 for crop in crops)
        assert all(crop.start + crop.samples <= batches.audio.lengths[crop.file] for crop in crops)
    assert batches.plan(0) != batches.plan(1)


def test_batches_are_full_of_like_lengths(tones: Path) -> None:
    batches = batches_of(open_audio(tones), seconds=0.6)
    for batch in batches.plan(0):
        longest = max(crop.samples for crop in batch)
        assert len(batch) == 1 or longest * len(batch) <= 2 * RATE
    assert batches.per_pass < sum(len(batch) for batch in batches.plan(0))


def test_any_batch_can_be_asked_for(tones: Path) -> None:
    batches = batches_of(open_audio(tones).hold())
    count = 2 * batches.per_pass + 1
    straight = starts(batches.iterate(), count)
    later = starts(batches.iterate(batches.per_pass + 2), count - batches.per_pass - 2)
    assert later == straight[batches.per_pass + 2 :]
    assert starts(batches_of(batches.audio, seed=1).iterate(), 3) != straight[:3]


def test_waveforms_are_those_of_the_crops(tones: Path) -> None:
    audio = open_audio(tones)
    crops, waveforms = next(batches_of(audio).iterate(workers=1))
    for crop, waveform in zip(crops, waveforms, strict=True):
        torch.testing.assert_close(waveform, audio.read(crop.file, crop.start, crop.samples))


def test_torch_generator_is_left_alone(tones: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    next(batches_of(open_audio(tones)).iterate())
    assert torch.equal(torch.rand(1), expected)


def test_files_are_split() -> None:
    trained, held_out = split_files(10, 3, seed=0)
    assert len(held_out) == 3
    assert sorted(trained + held_out) == list(range(10))
    assert split_files(10, 3, seed=0) == (trained, held_out)
    with pytest.raises(InputError, match="leaves none"):
        split_files(3, 3, seed=0)
