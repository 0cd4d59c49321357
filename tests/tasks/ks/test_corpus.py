from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from s3prl_compress.audio.clips import read_wave
from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.corpus import Split
from s3prl_compress.tasks.ks.corpus import KS_CLASSES, split_of
from s3prl_compress.tasks.registry import open_corpus

STEP = 1 / 32768
RATE = 16_000


@pytest.fixture
def corpus_copy(tiny_corpus: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_corpus, tmp_path / "corpus"))


def write_noise(path: Path, seconds: float, rate: int = RATE, channels: int = 1) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (int(seconds * rate), channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")


@pytest.mark.parametrize("channels", [1, 2])
def test_read_wave_equals_libsox(tmp_path: Path, channels: int) -> None:
    if shutil.which("sox") is None:
        pytest.skip("the program sox is not installed")
    source, result = tmp_path / "a.wav", tmp_path / "b.wav"
    write_noise(source, 0.5, channels=channels)
    effects = ["channels", "1", "rate", "16000", "gain", "-3.0"]
    output = ["-e", "floating-point", "-b", "32", str(result)]
    subprocess.run(["sox", str(source), *output, *effects], check=True, capture_output=True)
    expected = soundfile.read(result, dtype="float32")[0]
    wave = read_wave(source)
    assert wave.shape == (8000,)
    assert wave.dtype == torch.float32
    np.testing.assert_allclose(wave.numpy(), expected, atol=STEP / 100)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: write_noise(path, 0.5, rate=8000), "8000 Hz"),
        (lambda path: write_noise(path, 0.0), "no samples"),
        (lambda path: path.write_bytes(b"not a wave"), "cannot be read as audio"),
        (lambda path: None, "cannot be read as audio"),
    ],
)
def test_read_wave_names_the_file_that_it_refuses(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "clip.wav"
    write(path)
    with pytest.raises(InputError, match=words) as caught:
        read_wave(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("fixture", ["tiny_corpus", "tiny_digits_corpus"])
def test_a_good_corpus_passes(fixture: str, request: pytest.FixtureRequest) -> None:
    corpus = open_corpus(request.getfixturevalue(fixture))
    corpus.check()
    for split in ("train", "dev", "test"):
        names = [item.relative for item in corpus.items(split)]
        assert names == sorted(names)
        assert len(set(names)) == len(names) > 0
        assert {item.label for item in corpus.items(split)} <= set(corpus.classes)
    assert bool(corpus.background()) == ("_silence_" in corpus.classes)
    assert corpus.record().sizes["test"] == len(corpus.items("test"))


def test_speakers_are_those_of_the_file_names_and_silence_has_none(tiny_corpus: Path) -> None:
    items = open_corpus(tiny_corpus).items("test")
    for item in items:
        silent = item.label == "_silence_"
        assert item.speaker == ("" if silent else item.path.name.split("_nohash_")[0])
    assert len({item.speaker for item in items}) == 1 + 4


def test_prepared_silence_has_no_speaker(tiny_corpus: Path, tmp_path: Path) -> None:
    root = shutil.copytree(tiny_corpus, tmp_path / "copy")
    silence = next((root / "speech_commands_test" / "_silence_").iterdir())
    silence.rename(silence.with_name("0123abcd_nohash_0.wav"))  # as `prepare` calls it
    items = open_corpus(root).items("test")
    assert {item.speaker for item in items if item.label == "_silence_"} == {""}


def test_words_outside_the_classes_are_unknown(tiny_corpus: Path) -> None:
    items = open_corpus(tiny_corpus).items("train")
    labels = {item.relative.split("/")[1]: item.label for item in items}
    assert labels["bird"] == labels["tree"] == "_unknown_"
    assert labels["yes"] == "yes"


def test_official_folder_names_need_no_card(tiny_corpus: Path, tmp_path: Path) -> None:
    for name, official in (
        ("speech_commands", "speech_commands_v0.01"),
        ("speech_commands_test", "speech_commands_test_set_v0.01"),
    ):
        (tmp_path / official).symlink_to(tiny_corpus / name)
    corpus = open_corpus(tmp_path)
    corpus.check()
    assert corpus.classes == KS_CLASSES
    assert not corpus.generated
    assert len(corpus.items("train")) == len(open_corpus(tiny_corpus).items("train"))


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (None, "no keyword corpus"),
        ("{", "no corpus card"),
        ('{"format": "other"}', "no corpus card"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, card: str | None, words: str
) -> None:
    if card is not None:
        (tmp_path / "corpus.json").write_text(card, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        open_corpus(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_card_with_other_classes_is_refused(corpus_copy: Path) -> None:
    path = corpus_copy / "corpus.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**card, "classes": ["yes", "no"]}), encoding="utf-8")
    with pytest.raises(InputError, match="classes are not those"):
        open_corpus(corpus_copy)


def test_all_faults_are_listed_with_counts(corpus_copy: Path) -> None:
    train, test = corpus_copy / "speech_commands", corpus_copy / "speech_commands_test"
    write_noise(train / "_background_noise_" / "short.wav", 0.5)
    for item in open_corpus(corpus_copy).items("train")[:4]:
        write_noise(item.path, 0.5, rate=8000)
    next((test / "yes").glob("*.wav")).write_bytes(b"RIFF, but no more")
    next((test / "no").glob("*.wav")).write_bytes(b"")
    write_noise(next((test / "up").glob("*.wav")), 0.0)
    write_noise(test / "cheese" / "a_nohash_0.wav", 0.5)
    shutil.rmtree(test / "go")
    with pytest.raises(InputError) as caught:
        open_corpus(corpus_copy).check()
    message = str(caught.value)
    assert "\n" not in message
    assert "background file shorter than 1 s: 1 (" in message
    assert "sampling rate other than 16000 Hz: 4 (" in message
    assert ", ...)" in message
    assert "unreadable file: 1 (speech_commands_test/yes/" in message
    assert "empty file: 2 (" in message
    assert "class that does not belong: 1 (speech_commands_test/cheese)" in message
    assert "class without a clip: 1 (go in test)" in message


def test_no_background_noise_is_a_fault(corpus_copy: Path) -> None:
    shutil.rmtree(corpus_copy / "speech_commands" / "_background_noise_")
    with pytest.raises(InputError, match="no background noise: 1"):
        open_corpus(corpus_copy).check()


def test_a_missing_folder_is_a_fault(corpus_copy: Path) -> None:
    shutil.rmtree(corpus_copy / "speech_commands_test")
    with pytest.raises(InputError, match=r"missing folder: 1 \(speech_commands_test\)"):
        open_corpus(corpus_copy).check()


def test_a_training_folder_of_silence_does_not_belong(corpus_copy: Path) -> None:
    write_noise(corpus_copy / "speech_commands" / "_silence_" / "a_nohash_0.wav", 0.5)
    with pytest.raises(InputError, match="class that does not belong: 1"):
        open_corpus(corpus_copy).check()


def test_other_words_do_not_belong_among_the_digits(
    tiny_digits_corpus: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(tiny_digits_corpus, tmp_path / "corpus"))
    write_noise(root / "speech_commands" / "bird" / "a_nohash_0.wav", 0.5)
    with pytest.raises(InputError, match="class that does not belong: 1"):
        open_corpus(root).check()


def test_fingerprint_sees_contents_and_names_but_not_the_place(
    tiny_corpus: Path, corpus_copy: Path
) -> None:
    def fingerprint() -> str:
        return open_corpus(corpus_copy).fingerprint()

    original = open_corpus(tiny_corpus).fingerprint()
    assert fingerprint() == original
    clip = open_corpus(corpus_copy).items("test")[0].path
    renamed = clip.rename(clip.with_name("renamed.wav"))
    assert fingerprint() != original
    renamed.rename(clip)
    assert fingerprint() == original
    write_noise(clip, 0.5)
    assert fingerprint() != original


def test_the_classes_belong_to_the_fingerprint(tiny_corpus: Path) -> None:
    corpus = open_corpus(tiny_corpus)
    other = dataclasses.replace(corpus, classes=tuple(reversed(corpus.classes)))
    assert other.fingerprint() != corpus.fingerprint()


def test_the_rule_decides_by_the_speaker_alone() -> None:
    names = [f"{number:08x}" for number in range(2000)]
    splits = [split_of(name) for name in names]
    assert splits == [split_of(f"{name}_nohash_7.wav") for name in names]
    assert 0.07 < splits.count("dev") / len(names) < 0.13
    assert 0.07 < splits.count("test") / len(names) < 0.13


@pytest.mark.s3prl
def test_splits_are_those_of_s3prl(tiny_corpus: Path) -> None:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    from s3prl.downstream.speech_commands.dataset import CLASSES, SpeechCommandsDataset
    from s3prl.downstream.speech_commands.expert import split_dataset

    corpus = open_corpus(tiny_corpus)
    assert tuple(CLASSES) == KS_CLASSES
    splits: tuple[Split, ...] = ("train", "dev")
    for split, listed in zip(splits, split_dataset(corpus.train_root), strict=True):
        dataset = SpeechCommandsDataset(listed, speech_commands_root=str(corpus.train_root))
        theirs = {(str(path), label) for label, path in dataset.data}
        ours = {(str(item.path), item.label) for item in corpus.items(split)}
        silence = {(str(path), "_silence_") for path in corpus.background()}
        assert theirs == ours | silence


@pytest.mark.s3prl
def test_waves_are_those_of_s3prl(tiny_corpus: Path) -> None:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    from s3prl.downstream.speech_commands.dataset import SpeechCommandsTestingDataset

    corpus = open_corpus(tiny_corpus)
    dataset = SpeechCommandsTestingDataset(speech_commands_test_root=str(corpus.test_root))
    ours = {"-".join(item.path.parts[-2:]): item for item in corpus.items("test")}
    assert len(dataset) == len(ours)
    for wave, label, name in list(dataset)[::5]:
        np.testing.assert_allclose(wave, read_wave(ours[name].path).numpy(), atol=STEP / 100)
        assert KS_CLASSES[label] == ours[name].label
