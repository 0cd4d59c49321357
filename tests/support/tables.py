"""Tables of tones, as `prepare` takes them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from s3prl_compress.tasks.er.corpus import EMOTIONS

RATE = 16_000
COLUMNS = ("file", "label", "speaker", "split")
SPEAKERS = ("Ann", "Bé", "Cy", "Dee", "Eve", "Flo", "Gus")
INTENTS = (
    ("change language", "none", "none"),
    ("activate", "lamp", "kitchen"),
    ("activate", "lights", "kitchen"),
    ("deactivate", "lights", "bedroom"),
    ("increase", "lamp", "none"),
)
CLIPS = {"train": 5, "valid": 2, "test": 3}


def write_table(folder: Path, rows: list[dict[str, str]], name: str = "metadata.csv") -> Path:
    path = folder / name
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tone(path: Path, number: int, random: np.random.Generator, seconds: float = 0.3) -> None:
    """Write a tone whose pitch is that of a class, with noise, of 0.7 to 1.3 times the length."""
    time = np.arange(int(seconds * RATE * random.uniform(0.7, 1.3))) / RATE
    pitch = 150.0 * 1.4**number * random.uniform(0.97, 1.03)
    samples = 0.3 * np.sin(2 * np.pi * pitch * time) + 0.02 * random.standard_normal(len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def speaker_rows(folder: Path) -> list[dict[str, str]]:
    """Write the clips of seven speakers below `folder` and return their rows."""
    random = np.random.default_rng(0)
    rows = []
    for number, speaker in enumerate(SPEAKERS):
        for split, count in CLIPS.items():
            for take in range(count):
                file = f"audio/{speaker}-{split}-{take}.wav"
                write_tone(folder / file, number, random)
                rows.append({"file": file, "label": speaker, "speaker": speaker, "split": split})
    return rows


def emotion_rows(folder: Path) -> list[dict[str, str]]:
    """Write 16 clips of two speakers in each of five sessions and return their rows."""
    random = np.random.default_rng(0)
    rows = []
    for session in range(1, 6):
        for voice in "fm":
            for number, label in enumerate(EMOTIONS):
                for take in range(2):
                    file = f"audio/{session}{voice}-{label}-{take}.wav"
                    write_tone(folder / file, number, random)
                    rows.append(
                        {
                            "file": file,
                            "label": label,
                            "speaker": f"{session} {voice}",
                            "split": f"session{session}",
                        }
                    )
    return rows


def intent_rows(folder: Path) -> list[dict[str, str]]:
    """Write five commands of three speakers a split below `folder`, and return their rows."""
    random = np.random.default_rng(0)
    rows = []
    for split, takes in (("train", 3), ("valid", 1), ("test", 2)):
        for speaker in ("Ann", "Bé", "Cy"):
            for number, (action, thing, location) in enumerate(INTENTS):
                for take in range(takes):
                    file = f"audio/{split}-{speaker}-{number}-{take}.wav"
                    write_tone(folder / file, number, random)
                    rows.append(
                        {
                            "file": file,
                            "action": action,
                            "object": thing,
                            "location": location,
                            "speaker": f"{speaker} {split}",
                            "split": split,
                        }
                    )
    return rows
