"""Generate the demo corpus: keyword spotting's twelve classes, spoken by espeak-ng.

Needs the Debian package espeak-ng; everything else is a dependency of the project. Run it as
`python recipes/demo_corpus/generate.py`; it replaces `audio/` and `metadata.csv` beside it.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfilt
from tqdm import tqdm

Samples = NDArray[np.float64]

SEED = 20240
SAMPLING_RATE = 16_000
COMPRESSION = 0.95
"""libsndfile's level for Opus (1 is smallest): about 3 kB a second at 16 kHz."""

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN_WORDS = (
    "bed", "bird", "cat", "dog", "happy", "house",
    "marvin", "sheila", "tree", "wow", "three", "seven",
)  # fmt: skip

# Variants of one name (klatt, klatt2, ...) are the same voice with another effect, and some names
# are aliases (caleb speaks as klatt): one of each is used, so that nobody is heard in two splits.
VOICES = {
    "train": (
        "m1", "m3", "m7", "f1", "f4", "Alex", "Annie", "Denis",
        "adam", "aunty", "belinda", "david", "edward", "klatt", "steph",
    ),
    "valid": ("m2", "f2", "Andy", "boris", "linda"),
    "test": ("m4", "m5", "f3", "f5", "Alicia", "Hugo", "Michael", "gustave", "rob", "zac"),
}  # fmt: skip
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
TAKES = 2
UNKNOWN_TAKES = {"train": 3, "valid": 3, "test": 2}

BACKGROUND = ("white", "pink", "brown", "hum50", "fan", "babble")
BACKGROUND_SECONDS = 4.0
TEST_NOISES = ("blue", "hum60", "rain", "surf", "babble")
CLIPS_PER_TEST_NOISE = 4


def main() -> None:
    """Write the corpus into a folder, by default the one that this script lies in."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    output: Path = parser.parse_args().output
    if shutil.which("espeak-ng") is None:
        raise SystemExit("espeak-ng is not installed; on Debian: apt-get install espeak-ng")
    audio = output / "audio"
    if audio.exists():
        shutil.rmtree(audio)
    audio.mkdir(parents=True)
    rows = []
    clips = [*spoken(), *silent()]
    for row in tqdm(clips, desc="demo corpus", unit="clip"):
        generator = np.random.default_rng([SEED, zlib.crc32(row["file"].encode())])
        samples = speak(row, generator) if row["text"] else noise_clip(row, generator)
        write_opus(output / row["file"], samples)
        rows.append(row)
    with open(output / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def spoken() -> Iterator[dict[str, str]]:
    """Yield a table row for every spoken clip."""
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


def silent() -> Iterator[dict[str, str]]:
    """Yield a table row for every noise: long ones to cut from, and clips of others for test."""
    for kind in BACKGROUND:
        yield _row("_silence_", "", "train", "", f"noise-{kind}")
    for kind in TEST_NOISES:
        for take in range(CLIPS_PER_TEST_NOISE):
            yield _row("_silence_", "", "test", "", f"testnoise-{kind}_{take}")


def _row(label: str, voice: str, split: str, text: str, stem: str) -> dict[str, str]:
    file = f"audio/{stem}.ogg"
    return {"file": file, "label": label, "speaker": voice, "split": split, "text": text}


def speak(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return one word of 0.85 to 1 s with a random accent, speed, pitch, place, level and noise."""
    word = synthesize(row["text"], row["speaker"], generator)
    length = int(SAMPLING_RATE * generator.uniform(0.85, 1.0))
    word = word[:length]
    start = int(generator.integers(0, length - len(word) + 1))
    clip = np.zeros(length)
    clip[start : start + len(word)] = word / rms(word)
    kind = ("white", "pink", "brown")[int(generator.integers(3))]
    noise = make_noise(kind, length, generator)
    clip += noise * decibels(-generator.uniform(12, 32))
    return clip * decibels(generator.uniform(-32, -20))


def synthesize(text: str, voice: str, generator: np.random.Generator) -> Samples:
    """Let espeak-ng say `text`; return it at 16 kHz without the silence around it."""
    accent = ACCENTS[int(generator.integers(len(ACCENTS)))]
    speed, pitch = int(generator.integers(130, 200)), int(generator.integers(30, 71))
    command = ["espeak-ng", "-v", f"{accent}+{voice}", "-s", str(speed), "-p", str(pitch)]
    result = subprocess.run([*command, "--stdout", text], check=True, capture_output=True)
    samples, rate = soundfile.read(io.BytesIO(result.stdout), dtype="float64")
    samples = resample_poly(samples, SAMPLING_RATE, rate)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def noise_clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return a background recording, or a test clip of 1 s."""
    name, _, kind = Path(row["file"]).stem.partition("-")
    seconds = BACKGROUND_SECONDS if name == "noise" else 1.0
    kind = kind.split("_")[0]
    length = int(SAMPLING_RATE * seconds)
    if kind == "babble":
        noise = babble(VOICES[row["split"]], length, generator)
    else:
        noise = make_noise(kind, length, generator)
    return noise * decibels(generator.uniform(-50, -28))


def babble(voices: tuple[str, ...], length: int, generator: np.random.Generator) -> Samples:
    """Return eight voices at once, each saying unknown words without a pause."""
    total = np.zeros(length)
    for voice in generator.choice(voices, size=8, replace=False):
        line = np.zeros(0)
        while len(line) < length:
            text = str(generator.choice(UNKNOWN_WORDS))
            line = np.concatenate([line, synthesize(text, str(voice), generator)])
        total += line[:length] / rms(line)
    return total / rms(total)


def make_noise(kind: str, length: int, generator: np.random.Generator) -> Samples:
    """Return `length` samples of a noise of unit power."""
    time = np.arange(length) / SAMPLING_RATE
    white = generator.standard_normal(length)
    slopes = {"white": 0.0, "pink": -0.5, "brown": -1.0, "blue": 0.5}
    if kind in slopes:
        noise = coloured(white, slopes[kind])
    elif kind.startswith("hum"):
        base = float(kind[3:])
        noise = 0.1 * white
        for harmonic in (1, 2, 3, 5, 7):
            phase = generator.uniform(0, 2 * np.pi)
            noise += np.sin(2 * np.pi * base * harmonic * time + phase) / harmonic
    elif kind == "fan":
        noise = band(white, 80, 900) * (1 + 0.4 * np.sin(2 * np.pi * 11 * time))
    elif kind == "rain":
        drops = white * (generator.uniform(size=length) < 0.01)
        noise = band(drops, 1500, 6000) + 0.02 * white
    elif kind == "surf":
        phase = generator.uniform(0, 2 * np.pi)
        noise = coloured(white, -0.7) * (1.2 + np.sin(2 * np.pi * 0.6 * time + phase))
    else:
        raise ValueError(f"no noise of the kind {kind!r}")
    return noise / rms(noise)


def coloured(white: Samples, slope: float) -> Samples:
    """Give white noise an amplitude spectrum that goes with frequency to the power `slope`."""
    spectrum = np.fft.rfft(white)
    frequencies = np.fft.rfftfreq(len(white), 1 / SAMPLING_RATE)
    return np.fft.irfft(spectrum * np.maximum(frequencies, 20.0) ** slope, len(white))


def band(samples: Samples, low: float, high: float) -> Samples:
    """Keep the frequencies from `low` to `high` (Hz)."""
    filters = butter(2, [low, high], btype="bandpass", fs=SAMPLING_RATE, output="sos")
    return np.asarray(sosfilt(filters, samples))


def rms(samples: Samples) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(samples))))


def decibels(level: float) -> float:
    """Return the amplitude factor of a level."""
    return float(10 ** (level / 20))


def write_opus(path: Path, samples: Samples) -> None:
    """Write one file of mono Ogg Opus at 16 kHz."""
    samples = np.clip(samples, -0.99, 0.99)
    soundfile.write(
        str(path),
        samples,
        SAMPLING_RATE,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION,
    )


if __name__ == "__main__":
    main()
