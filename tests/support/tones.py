"""Audio that is quick to make and has something to learn in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from .letters import write_letters

RATE = 16_000


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight files of 1.0 to 2.6 s: four pitches, each held for a quarter of a second."""
    root = tmp_path_factory.mktemp("tones")
    random = np.random.default_rng(0)
    for number in range(8):
        pitches = np.repeat(random.choice([200.0, 500.0, 1000.0, 2000.0], 12), RATE // 4)
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(pitches) / RATE)
        wave = wave[: RATE + number * 3571] + 0.01 * random.standard_normal(RATE + number * 3571)
        path = root / f"speaker{number % 2}" / f"{number}.{'flac' if number % 3 else 'wav'}"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="PCM_16")
    return root


@pytest.fixture(scope="session")
def transcribed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transcribed speech in LibriSpeech's layout, see `letters`."""
    root = tmp_path_factory.mktemp("transcribed")
    write_letters(root)
    return root
