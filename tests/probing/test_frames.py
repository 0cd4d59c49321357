from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.encoder.frames import superb_frame_counts, superb_frames
from s3prl_compress.probing import frame_file
from s3prl_compress.probing import frames as module
from s3prl_compress.probing.frame_extraction import load_frames
from s3prl_compress.probing.frames import (
    Frames,
    bytes_of_frames,
    layer_frames,
    plan_frames,
)
from s3prl_compress.results.records import Padding
from s3prl_compress.tasks.base.corpus import Split
from s3prl_compress.tasks.base.transcripts import TranscribedCorpus, open_transcripts

from ..support.damage import flip_bit
from ..support.small_corpora import write_transcripts

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> TranscribedCorpus:
    root = tmp_path_factory.mktemp("frames") / "corpus"
    return open_transcripts(write_transcripts(root, ("ONE", "TWO"), train=7))


def made(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    cache: Path,
    padding: Padding = "independent",
    seconds: float = 1.6,
) -> Frames:
    return load_frames(encoder, corpus, padding=padding, cache=cache, seconds_per_batch=seconds)


@pytest.mark.parametrize("padding", ["independent", "fairseq"])
def test_frames_are_those_of_each_utterance_alone(
    encoder: SpeechEncoder, corpus: TranscribedCorpus, tmp_path: Path, padding: Padding
) -> None:
    frames = made(encoder, corpus, tmp_path, padding)
    assert (len(frames.plan.items), frames.layers, frames.width) == (13, 3, 32)
    for row, item in enumerate(frames.plan.items):
        wave = corpus.read(item.path)
        with torch.no_grad():
            states, counts = encoder([wave])
        if padding == "independent":
            states = tuple(superb_frames(states, counts, [len(wave)], 320))
        expected = torch.stack(states)[:, 0, : superb_frame_counts([len(wave)], 320)[0]]
        given = frames.read([row])[0]
        assert given.dtype == torch.float16
        assert given.shape == expected.shape == (3, frames.plan.counts[row], 32)
        assert (given.float() - expected).abs().max() < 1e-2
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".frames", ".json", ".lock"]
    size = next(tmp_path.glob("*.frames")).stat().st_size
    assert size == bytes_of_frames(frames.plan, encoder.shape)


def test_frames_are_made_once(
    encoder: SpeechEncoder, corpus: TranscribedCorpus, tmp_path: Path
) -> None:
    first = made(encoder, corpus, tmp_path)
    assert not first.reused
    again = made(encoder, corpus, tmp_path)
    assert again.reused
    assert torch.equal(first.read([3])[0], again.read([3])[0])
    path = next(tmp_path.glob("*.frames"))
    path.write_bytes(path.read_bytes()[:-2])
    assert not made(encoder, corpus, tmp_path).reused
    other = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=1)
    assert not made(other, corpus, tmp_path).reused


def test_a_damaged_utterance_is_found_on_reading_and_computed_again(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = made(encoder, corpus, tmp_path)
    expected = [frames.clone() for frames in first.read(range(13))]
    path = next(tmp_path.glob("*.frames"))
    flip_bit(path, (first.plan.starts[5] + 1) / sum(first.plan.counts))
    frames = replace(made(encoder, corpus, tmp_path), first_state=1)
    assert frames.reused
    capsys.readouterr()
    for _ in range(2):  # the second time as it was stored again
        for row, given in enumerate(frames.read(range(13))):
            assert (given - expected[row][1:]).abs().max() < 1e-2
    name = frames.plan.items[5].relative
    assert capsys.readouterr().err.splitlines() == [
        f"the stored frames of {name} are damaged (wrong checksum) and are computed again"
    ]
    again = made(encoder, corpus, tmp_path)
    assert again.reused
    assert (again.read([5])[0] - expected[5]).abs().max() < 1e-2
    assert not capsys.readouterr().err


def test_a_damaged_index_of_frames_is_found(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made(encoder, corpus, tmp_path)
    flip_bit(next(tmp_path.glob("*.json")), 0.1)
    capsys.readouterr()
    assert not made(encoder, corpus, tmp_path).reused
    assert "damaged (not what its index says); computed again" in capsys.readouterr().err


def test_making_frames_goes_on_where_it_was_killed(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = made(encoder, corpus, tmp_path / "undisturbed")
    monkeypatch.setattr(frame_file, "_SECONDS_BETWEEN_MARKS", 0.0)
    sizes: list[int] = []

    def counting(encoder: SpeechEncoder, waveforms: list[Tensor], **options: Any) -> list[Tensor]:
        if sum(sizes) >= 6 and len(sizes) < 50:
            sizes.extend([0] * 50)
            raise KeyboardInterrupt
        sizes.append(len(waveforms))
        return layer_frames(encoder, waveforms, **options)

    monkeypatch.setattr(module, "layer_frames", counting)
    with pytest.raises(KeyboardInterrupt):
        made(encoder, corpus, tmp_path / "killed")
    assert not list((tmp_path / "killed").glob("*.frames"))
    given = made(encoder, corpus, tmp_path / "killed")
    assert sum(sizes) == 13
    for row in range(13):
        assert torch.equal(given.read([row])[0], expected.read([row])[0])


def test_space_is_checked_before_anything_is_computed(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = bytes_of_frames(plan_frames(corpus, encoder.shape, "independent"), encoder.shape)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, needed - 1))
    monkeypatch.setattr(module, "layer_frames", None)
    with pytest.raises(InputError, match=r"frames of 13 utterances need .* GB are free; give"):
        made(encoder, corpus, tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_a_full_disk_is_one_line(
    encoder: SpeechEncoder,
    corpus: TranscribedCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        def __init__(self, file: object) -> None:
            pass

        def seek(self, place: int) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_file, "open", lambda *arguments: Full(arguments), raising=False)
    with pytest.raises(InputError, match="No space left on device; make room there"):
        made(encoder, corpus, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_hidden_states_beyond_float16_are_refused(
    corpus: TranscribedCorpus, tmp_path: Path, value: float
) -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    for parameter in encoder.encoder.layers[-1].parameters():
        parameter.data.fill_(value)
    with pytest.raises(InputError, match=r"7-1-.*\.flac: the encoder's hidden states"):
        made(encoder, corpus, tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_too_short_utterances_are_refused(
    encoder: SpeechEncoder, corpus: TranscribedCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lengths(corpus: TranscribedCorpus, split: Split) -> list[int]:
        return [399] + [400] * (len(corpus.items(split)) - 1)

    monkeypatch.setattr(TranscribedCorpus, "lengths", lengths)
    with pytest.raises(InputError, match=r"shorter than the 400 samples.*3 utterances are"):
        plan_frames(corpus, encoder.shape, "independent")
