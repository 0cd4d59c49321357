"""Sound of the demo corpus: espeak-ng's voices, noises, levels, Ogg Opus."""

from __future__ import annotations

import io
import subprocess

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfilt

Samples = NDArray[np.float64]

SAMPLING_RATE = 16_000
COMPRESSION = 0.95
"""libsndfile's level for Opus (1 is smallest): about 3 kB a second at 16 kHz."""

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
FEMALE = ("f1", "f2", "f3", "f4", "f5", "Alicia", "Annie", "aunty", "belinda", "linda", "steph")
"""Of the voices, those that espeak-ng lists as female."""
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
HISSES = ("white", "pink", "brown")
"""Kinds of background noise."""


def gender(voice: str) -> str:
    """Return what espeak-ng says of a voice: `f` or `m`."""
    return "f" if voice in FEMALE else "m"


def synthesize(text: str, voice: str, accent: str, speed: int, pitch: int) -> Samples:
    """Let espeak-ng say `text`; return it at 16 kHz without the silence around it.

    Args:
        text: plain, or SSML where it begins with `<speak>`.
        voice: a variant of espeak-ng's.
        accent: one of its kinds of English.
        speed: words per minute.
        pitch: 0 to 100.
    """
    command = ["espeak-ng", "-v", f"{accent}+{voice}", "-s", str(speed), "-p", str(pitch)]
    if text.startswith("<speak>"):
        command.append("-m")
    result = subprocess.run([*command, "--stdout", text], check=True, capture_output=True)
    samples, rate = soundfile.read(io.BytesIO(result.stdout), dtype="float64")
    samples = resample_poly(samples, SAMPLING_RATE, rate)
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return samples[loud[0] : loud[-1] + 1]


def in_room(words: Samples, below: tuple[float, float], generator: np.random.Generator) -> Samples:
    """Return the words at unit power with up to 0.1 s around them, above a hiss.

    below: how far the hiss lies below the words, lowest and highest, in dB.
    """
    before, after = (int(SAMPLING_RATE * generator.uniform(0.0, 0.1)) for _ in range(2))
    clip = np.pad(words / rms(words), (before, after))
    hiss = make_noise(HISSES[int(generator.integers(len(HISSES)))], len(clip), generator)
    return clip + hiss * decibels(-generator.uniform(*below))


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
