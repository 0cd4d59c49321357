"""Transcribed speech that is quick to make and can be learned: letters are tones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def write_letters(root: Path) -> None:
    """Write LibriSpeech's layout: 16 train, 4 dev and 4 test utterances of 2 to 8 letters.

    A letter, one of four, is a tone of 0.1 s between pauses of 0.06 s.
    """
    random = np.random.default_rng(1)
    for split, count in (("train-clean-100", 16), ("dev-clean", 4), ("test-clean", 4)):
        folder = root / split / "1" / "2"
        folder.mkdir(parents=True)
        lines = []
        for number in range(count):
            text = " ".join("".join(random.choice(list("abcd"), 2)) for _ in range(1 + number % 4))
            pause = np.zeros(RATE * 6 // 100)
            pieces = [pause]
            for letter in text.replace(" ", ""):
                time = np.arange(RATE // 10) / RATE
                pitch = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3000.0}[letter]
                pieces += [0.3 * np.sin(2 * np.pi * pitch * time), pause]
            wave = np.concatenate(pieces)
            wave = wave + 0.01 * random.standard_normal(len(wave))
            soundfile.write(folder / f"1-2-{number:04}.flac", wave, RATE, subtype="PCM_16")
            lines.append(f"1-2-{number:04} {text}\n")
        (folder / "1-2.trans.txt").write_text("".join(lines))
