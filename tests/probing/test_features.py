from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from s3prl_compress.audio.clips import read_wave
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, SpeechEncoder, random_encoder
from s3prl_compress.encoder.frames import superb_frame_counts, superb_frames
from s3prl_compress.probing import features, pooling
from s3prl_compress.probing.features import Features, load_features
from s3prl_compress.probing.pooling import Clip, batches_by_length, evenly_spaced, pool
from s3prl_compress.tasks.ks.corpus import KeywordCorpus
from s3prl_compress.tasks.ks.onepass import plan_clips
from s3prl_compress.tasks.registry import open_corpus

from ..support.damage import flip_bit


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return random_encoder(NAMED_SHAPES["hubert_tiny"])


@pytest.fixture(scope="module")
def corpus(tiny_corpus: Path) -> KeywordCorpus:
    return open_corpus(tiny_corpus)


@pytest.fixture
def forward_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that went through an encoder."""
    calls: list[int] = []
    original = pooling.pool

    def counting(encoder: SpeechEncoder, waveforms: list[Tensor]) -> Tensor:
        calls.append(len(waveforms))
        return original(encoder, waveforms)

    monkeypatch.setattr(pooling, "pool", counting)
    return calls


def made(encoder: SpeechEncoder, corpus: KeywordCorpus, cache: Path, **changes: object) -> Features:
    options = {"crops_per_file": 4, "padding": "independent", "cache": cache, **changes}
    clips = plan_clips(corpus, options.pop("crops_per_file")).clips  # type: ignore[arg-type]
    return load_features(encoder, corpus, clips, **options)  # type: ignore[arg-type]


def test_plan_has_every_utterance_once_and_the_crops_last(corpus: KeywordCorpus) -> None:
    plan = plan_clips(corpus, 4)
    for split, rows in (("train", plan.train), ("dev", plan.dev), ("test", plan.test)):
        paths = [plan.clips[row].path for row in rows]
        assert paths == [item.path for item in corpus.items(split)]  # type: ignore[arg-type]
    assert [len(rows) for rows in plan.background] == [4, 4]
    assert plan.background[-1].stop == len(plan.clips)


def test_crops_are_evenly_spaced_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.arange(20_000) / 40_000, 16_000, subtype="FLOAT")
    crops = evenly_spaced(path, 5)
    assert [crop.start for crop in crops] == [0, 1000, 2000, 3000, 4000]
    wave = read_wave(path)
    assert torch.equal(crops[1].cut(wave), wave[1000:17_000])
    soundfile.write(path, np.zeros(16_002), 16_000)
    assert [crop.start for crop in evenly_spaced(path, 512)] == [0, 1, 2]
    assert [crop.start for crop in evenly_spaced(path, 1)] == [1]
    soundfile.write(path, np.zeros(15_999), 16_000)
    with pytest.raises(InputError, match=r"noise\.wav: shorter than 16000 samples"):
        evenly_spaced(path, 5)


def test_batches_hold_all_rows_once_within_the_limit() -> None:
    lengths = [5, 100, 7, 7, 60, 1, 30, 30]
    batches = list(batches_by_length(lengths, 60))
    assert sorted(row for batch in batches for row in batch) == list(range(8))
    assert batches[0] == [1]  # longer than the limit: alone
    for batch in batches[1:]:
        assert len(batch) * max(lengths[row] for row in batch) <= 60
    assert [len(batch) for batch in batches_by_length(lengths, 0)] == [1] * 8


def test_pooled_is_the_mean_of_superbs_frames_alone_as_in_a_batch(encoder: SpeechEncoder) -> None:
    torch.manual_seed(0)
    waves = [0.1 * torch.randn(samples) for samples in (400, 2304, 15_000, 16_000, 48_123)]
    with torch.no_grad():
        together = pool(encoder, waves)
        for number, wave in enumerate(waves):
            states, counts = encoder([wave])
            frames = superb_frames(states, counts, [len(wave)], 320)
            assert frames[0].shape[1] == superb_frame_counts([len(wave)], 320)[0]
            expected = torch.stack([state[0].mean(0) for state in frames])
            scale = expected.abs().max()
            assert (pool(encoder, [wave])[0] - expected).abs().max() <= 1e-5 * scale
            assert (together[number] - expected).abs().max() <= 1e-5 * scale


def test_fairseq_padding_takes_the_frames_that_there_are(encoder: SpeechEncoder) -> None:
    torch.manual_seed(0)
    wave = 0.1 * torch.randn(15_000)  # 46 frames, where SUPERB counts 47
    encoder.padding = "fairseq"
    try:
        with torch.no_grad():
            means, states = pool(encoder, [wave])[0], encoder([wave])[0]
        assert torch.allclose(means, torch.stack([state[0].mean(0) for state in states]), atol=1e-6)
        with pytest.raises(ValueError, match="one by one"):
            pool(encoder, [wave, wave])
    finally:
        encoder.padding = "independent"


def test_a_cache_hit_gives_identical_features_without_the_encoder(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path: Path, forward_calls: list[int]
) -> None:
    first = made(encoder, corpus, tmp_path)
    assert sum(forward_calls) == len(plan_clips(corpus, 4).clips)
    assert max(forward_calls) > 1
    forward_calls.clear()
    second = made(encoder, corpus, tmp_path)
    assert (first.reused, second.reused) == (False, True)
    assert forward_calls == []
    assert torch.equal(first.values, second.values)
    assert first.values.shape == (len(plan_clips(corpus, 4).clips), 3, 32)
    kinds = sorted(path.suffix for path in tmp_path.iterdir())
    assert kinds == [".json", ".lock", ".npy"]  # nothing temporary stays


def test_rows_are_the_features_of_their_clips(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path: Path
) -> None:
    features = made(encoder, corpus, tmp_path, seconds_per_batch=3.0)
    plan = plan_clips(corpus, 4)
    for row in (plan.train[0], plan.dev[-1], plan.test[5], plan.background[1][2]):
        clip: Clip = plan.clips[row]
        with torch.no_grad():
            expected = pool(encoder, [clip.cut(read_wave(clip.path))])[0]
        assert torch.allclose(features.values[row], expected, atol=1e-5)


def test_another_encoder_padding_or_number_of_crops_has_other_features(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path: Path, forward_calls: list[int]
) -> None:
    made(encoder, corpus, tmp_path)
    forward_calls.clear()
    assert not made(random_encoder(encoder.shape, seed=1), corpus, tmp_path).reused
    assert not made(encoder, corpus, tmp_path, crops_per_file=3).reused
    forward_calls.clear()
    fairseq = made(encoder, corpus, tmp_path, padding="fairseq")
    assert not fairseq.reused
    assert set(forward_calls) == {1}
    assert encoder.padding == "independent"


def test_features_that_are_not_whole_are_made_anew(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path: Path
) -> None:
    expected = made(encoder, corpus, tmp_path).values.clone()
    (path,) = tmp_path.glob("*.npy")
    index = path.with_suffix(".json")
    whole = path.read_bytes()

    def truncate() -> None:
        path.write_bytes(whole[: len(whole) // 2])

    def other_index() -> None:
        index.write_text(json.dumps({"version": 0}), encoding="utf-8")

    for damage in (truncate, path.unlink, index.unlink, other_index):
        damage()
        features = made(encoder, corpus, tmp_path)
        assert not features.reused
        assert torch.equal(features.values, expected)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.99])
def test_a_flipped_bit_is_found_and_features_are_computed_again(
    encoder: SpeechEncoder,
    corpus: KeywordCorpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    suffix: str,
    place: float,
) -> None:
    expected = made(encoder, corpus, tmp_path).values.clone()
    (path,) = tmp_path.glob(f"*{suffix}")
    flip_bit(path, place)
    capsys.readouterr()
    features = made(encoder, corpus, tmp_path)
    assert not features.reused
    assert torch.equal(features.values, expected)
    lines = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(lines) == 1
    assert "computed again" in lines[0]
    assert made(encoder, corpus, tmp_path).reused


def test_a_kill_leaves_nothing_that_looks_whole(
    encoder: SpeechEncoder,
    corpus: KeywordCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> Tensor:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pooling, "pool", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(encoder, corpus, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert not made(encoder, corpus, tmp_path).reused


def test_bad_utterances_and_encoders_are_one_line(
    encoder: SpeechEncoder, corpus: KeywordCorpus, tmp_path: Path
) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.zeros(399), 16_000)

    with pytest.raises(InputError, match=r"short\.wav: 399 samples, but this encoder needs 400"):
        pooling.check_lengths([pooling.whole(path)], encoder.shape.minimum_samples)
    broken = random_encoder(encoder.shape)
    with torch.no_grad():
        broken.encoder.layer_norm.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"hidden states of it are not finite"):
        made(broken, corpus, tmp_path)


def test_of_two_that_need_the_same_features_one_computes_them(
    encoder: SpeechEncoder,
    corpus: KeywordCorpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[object] = []
    original = features._write

    def slowly(path: Path, *arguments: object) -> None:
        written.append(path)
        time.sleep(0.5)  # the other one has long looked for them meanwhile
        original(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(features, "_write", slowly)
    found: list[Features] = []
    threads = [
        threading.Thread(target=lambda: found.append(made(encoder, corpus, tmp_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert sorted(one.reused for one in found) == [False, True]
    assert torch.equal(found[0].values, found[1].values)
