"""Shared fixtures. The package is imported first: it makes torchaudio importable."""

from __future__ import annotations

import json
import os
from pathlib import Path

import s3prl_compress  # noqa: F401  # isort: skip
import numpy as np
import pytest
import soundfile

from .support.small_tables import (
    emotion_table,
    intent_table,
    speaker_table,
    tiny_emotions,
    tiny_intents,
    tiny_speakers,
)
from .support.tones import tones, transcribed

__all__ = [
    "emotion_table",
    "intent_table",
    "speaker_table",
    "tiny_emotions",
    "tiny_intents",
    "tiny_speakers",
    "tones",
    "transcribed",
]

RATE = 16_000
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech Commands' layout, all twelve classes, made of tones and noise.

    Train 5 and dev 3 clips a word (two words are unknown ones), test 4 clips a class, two
    background files; clips of 0.3 to 1 s.
    """
    root = tmp_path_factory.mktemp("tiny_corpus")
    _write_corpus(root, "official", (*KEYWORDS, "_unknown_", "_silence_"), ("bird", "tree"))
    return root


@pytest.fixture(scope="session")
def tiny_digits_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the ten digits: no unknown words, no silence, no background files."""
    root = tmp_path_factory.mktemp("tiny_digits_corpus")
    _write_corpus(root, "digits", DIGITS, ())
    return root


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of real speech that `SPEECH_DATA` points to; skips where there is none."""
    given = os.environ.get("SPEECH_DATA")
    if not given:
        pytest.skip("SPEECH_DATA is not set: it names a folder of real speech")
    folder = Path(given)
    if not folder.is_dir():
        pytest.skip(f"SPEECH_DATA: {folder} is no folder")
    return folder


def _write_corpus(
    root: Path, variant: str, classes: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    random = np.random.default_rng(0)
    words = [name for name in classes if not name.startswith("_")]
    train, test = root / "speech_commands", root / "speech_commands_test"
    for index, word in enumerate((*words, *unknown)):
        for split, count in (("train", 5), ("dev", 3)):
            for speaker in _speakers(split, count):
                _write(train / word / f"{speaker}_nohash_0.wav", _tone(index, random))
        folder = test / (word if word in words else "_unknown_")
        for speaker in _speakers("test", 4 if word in words else 2):
            name = f"{speaker}_nohash_{index if word in unknown else 0}.wav"
            _write(folder / name, _tone(index, random))
    if "_silence_" in classes:
        for number in range(2):
            noise = 0.05 * random.standard_normal(3 * RATE)
            _write(train / "_background_noise_" / f"noise_{number}.wav", noise)
        for number in range(4):
            noise = 0.05 * random.standard_normal(RATE)
            _write(test / "_silence_" / f"{number}.wav", noise)
    card = {
        "format": "s3prl_compress.corpus",
        "version": 1,
        "task": "ks",
        "variant": variant,
        "name": f"tiny {variant}",
        "generated": True,
        "classes": classes,
        "source": {},
    }
    (root / "corpus.json").write_text(json.dumps(card), encoding="utf-8")


def _speakers(split: str, count: int) -> list[str]:
    from s3prl_compress.tasks.ks.corpus import split_of

    names = (f"{number:08x}" for number in range(10_000))
    found = [name for name in names if split_of(f"{name}_nohash_0.wav") == split]
    return found[:count]


def _tone(index: int, random: np.random.Generator) -> np.ndarray:
    time = np.arange(int(RATE * random.uniform(0.3, 1.0))) / RATE
    pitch = 150.0 * 1.25**index * random.uniform(0.98, 1.02)
    noise = 0.01 * random.standard_normal(len(time))
    return 0.3 * np.sin(2 * np.pi * pitch * time) + noise


def _write(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE, subtype="PCM_16")


@pytest.fixture
def bundled_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of `hubert_demo`'s: its shape, random weights, float16."""
    import torch

    from s3prl_compress.encoder import random_encoder, save
    from s3prl_compress.pretraining.recipe import load_recipe

    recipe = Path(__file__).parents[1] / "recipes" / "pretrain" / "hubert_demo.yaml"
    upstreams = tmp_path / "upstreams"
    monkeypatch.setattr("s3prl_compress.encoder.bundled.upstreams_folder", lambda: upstreams)
    encoder = random_encoder(load_recipe(recipe).model.shape())
    return save(encoder, upstreams / "hubert_demo", dtype=torch.float16)


@pytest.fixture
def no_bundled_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation without the weights of `hubert_demo`."""
    monkeypatch.setattr("s3prl_compress.encoder.bundled.upstreams_folder", lambda: tmp_path)
    return tmp_path / "hubert_demo"
