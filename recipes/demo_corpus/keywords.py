"""Keyword spotting: its twelve classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from s3prl_compress.recipes.demo_corpus.sound import (
    ACCENTS,
    HISSES,
    SAMPLING_RATE,
    VOICES,
    Samples,
    decibels,
    make_noise,
    rms,
    synthesize,
)

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN_WORDS = (
    "bed", "bird", "cat", "dog", "happy", "house",
    "marvin", "sheila", "tree", "wow", "three", "seven",
)  # fmt: skip
TAKES = 2
UNKNOWN_TAKES = {"train": 3, "valid": 3, "test": 2}

BACKGROUND = ("white", "pink", "brown", "hum50", "fan", "babble")
BACKGROUND_SECONDS = 4.0
TEST_NOISES = ("blue", "hum60", "rain", "surf", "babble")
CLIPS_PER_TEST_NOISE = 4


def rows() -> Iterator[dict[str, str]]:
    """Yield a table row for every clip: words, then noises."""
    yield from _spoken()
    yield from _silent()


def clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return the clip of a row."""
    return _word_clip(row, generator) if row["text"] else _noise_clip(row, generator)


def _spoken() -> Iterator[dict[str, str]]:
    for split, voices in VOICES.items():
        for index, voice in enumerate(voices):
            for word in WORDS:
                for take in range(TAKES):
                    yield _row(word, voice, split, word, f"{word}_{voice}_{take}")
            for take in range(UNKNOWN_TAKES[split]):
                # Steps through the words voice by voice, so that each comes up equally often.
                number = index * UNKNOWN_TAKES[split] + take
                word = UNKNOWN_WORDS[number % len(UNKNOWN_WORDS)]
                yield _row("_unknown_", voice, split, word, f"{word}_{voice}_{take}")


def _silent() -> Iterator[dict[str, str]]:
    """Yield a row for every noise: long ones to cut from, and clips of others for test."""
    for kind in BACKGROUND:
        yield _row("_silence_", "", "train", "", f"noise-{kind}")
    for kind in TEST_NOISES:
        for take in range(CLIPS_PER_TEST_NOISE):
            yield _row("_silence_", "", "test", "", f"testnoise-{kind}_{take}")


def _row(label: str, voice: str, split: str, text: str, stem: str) -> dict[str, str]:
    file = f"audio/{stem}.ogg"
    return {"file": file, "label": label, "speaker": voice, "split": split, "text": text}


def _word_clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return one word of 0.85 to 1 s with a random accent, speed, pitch, place, level and noise."""
    word = _word(row["text"], row["speaker"], generator)
    length = int(SAMPLING_RATE * generator.uniform(0.85, 1.0))
    word = word[:length]
    start = int(generator.integers(0, length - len(word) + 1))
    samples = np.zeros(length)
    samples[start : start + len(word)] = word / rms(word)
    noise = make_noise(HISSES[int(generator.integers(3))], length, generator)
    samples += noise * decibels(-generator.uniform(12, 32))
    return samples * decibels(generator.uniform(-32, -20))


def _word(text: str, voice: str, generator: np.random.Generator) -> Samples:
    accent = ACCENTS[int(generator.integers(len(ACCENTS)))]
    speed, pitch = int(generator.integers(130, 200)), int(generator.integers(30, 71))
    return synthesize(text, voice, accent, speed, pitch)


def _noise_clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return a background recording, or a test clip of 1 s."""
    name, _, kind = Path(row["file"]).stem.partition("-")
    seconds = BACKGROUND_SECONDS if name == "noise" else 1.0
    kind = kind.split("_")[0]
    length = int(SAMPLING_RATE * seconds)
    if kind == "babble":
        noise = _babble(VOICES[row["split"]], length, generator)
    else:
        noise = make_noise(kind, length, generator)
    return noise * decibels(generator.uniform(-50, -28))


def _babble(voices: tuple[str, ...], length: int, generator: np.random.Generator) -> Samples:
    """Return eight voices at once, each saying unknown words without a pause."""
    total = np.zeros(length)
    for voice in generator.choice(voices, size=8, replace=False):
        line = np.zeros(0)
        while len(line) < length:
            text = str(generator.choice(UNKNOWN_WORDS))
            line = np.concatenate([line, _word(text, str(voice), generator)])
        total += line[:length] / rms(line)
    return total / rms(total)
