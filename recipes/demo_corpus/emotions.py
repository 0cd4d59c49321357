"""Emotion recognition: four styles of prosody, acted by ten voices in five sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from s3prl_compress.recipes.demo_corpus.sound import (
    ACCENTS,
    Samples,
    coloured,
    decibels,
    gender,
    in_room,
    synthesize,
)

SESSIONS = (
    ("m4", "f3"), ("m5", "f5"), ("Hugo", "Alicia"), ("Michael", "linda"), ("rob", "belinda"),
)  # fmt: skip
"""Two voices each, as in IEMOCAP."""
SENTENCES = (
    "the parcel is on the kitchen table", "they moved to another town in May",
    "I will see you tomorrow at noon", "she has cut her hair very short",
    "the meeting begins at seven", "he took the last train home",
    "we found it under the bed", "it was raining all night long",
)  # fmt: skip
"""Everybody says each of them in each style, so that the words say nothing."""


@dataclass(frozen=True)
class Style:
    """The means of a style; every clip is drawn around them, so that styles overlap."""

    pitch: float
    """In percent of the voice's own."""
    span: float
    """How far the pitch moves, in percent of the voice's own way."""
    speed: float
    """Words per minute."""
    level: float
    """Of the words, in dB below full scale."""
    tilt: float
    """Power of frequency that the spectrum's amplitudes are multiplied with: effort is bright."""


STYLES = {
    "ang": Style(pitch=115, span=150, speed=200, level=-20, tilt=0.2),
    "hap": Style(pitch=130, span=180, speed=188, level=-25, tilt=0.05),
    "neu": Style(pitch=100, span=100, speed=180, level=-27, tilt=0.0),
    "sad": Style(pitch=85, span=50, speed=160, level=-31, tilt=-0.2),
}
SPREAD = Style(pitch=10, span=25, speed=10, level=2.5, tilt=0.06)
"""Standard deviations from clip to clip."""


def rows() -> Iterator[dict[str, str]]:
    """Yield a table row for every clip."""
    for number, voices in enumerate(SESSIONS, start=1):
        for voice in voices:
            for label in STYLES:
                for take, text in enumerate(SENTENCES):
                    yield {
                        "file": f"audio/{voice}_{label}_{take}.ogg",
                        "label": label,
                        "speaker": voice,
                        "gender": gender(voice),
                        "text": text,
                        "split": f"session{number}",
                    }


def clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return one sentence in its style."""
    style = STYLES[row["label"]]
    pitch = generator.normal(style.pitch, SPREAD.pitch)
    span = max(generator.normal(style.span, SPREAD.span), 0.0)
    speed = generator.normal(style.speed, SPREAD.speed)
    text = (
        f'<speak><prosody pitch="{pitch:.0f}%" range="{span:.0f}%">{row["text"]}</prosody></speak>'
    )
    accent = ACCENTS[int(generator.integers(len(ACCENTS)))]
    words = synthesize(text, row["speaker"], accent, int(speed), 50)
    words = coloured(words, generator.normal(style.tilt, SPREAD.tilt))
    level = min(generator.normal(style.level, SPREAD.level), -15.0)
    return in_room(words, (10, 25), generator) * decibels(level)
