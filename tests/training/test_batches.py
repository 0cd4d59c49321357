from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio import AudioSet, open_audio
from s3prl_compress.common.errors import InputError
from s3prl_compress.training.batches import AudioBatches, split_files

RATE = 16_000


def batches_of(audio: AudioSet, seconds: float = 0.5, seed: int = 0) -> AudioBatches:
    return AudioBatches(audio, int(seconds * RATE), 2 * RATE, seed)


def starts(batches: Iterator[tuple[list, list]], count: int) -> list:
    return [crops for crops, _ in islice(batches, count)]


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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path, workers: int) -> None:
    wave = np.full(RATE, 0.1)
    wave[100] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    batches = batches_of(open_audio(tmp_path))
    with pytest.raises(InputError, match=r"a\.wav: holds samples that are NaN") as caught:
        next(batches.iterate(0, workers))
    assert "\n" not in str(caught.value)
