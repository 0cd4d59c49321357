"""Speech recognition: sentences of a small grammar, with transcripts as LibriSpeech writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from s3prl_compress.recipes.demo_corpus.sound import (
    ACCENTS,
    VOICES,
    Samples,
    decibels,
    gender,
    in_room,
    synthesize,
)

SEED = 20244
"""Of which sentences there are."""
PARTS = (
    ("the old man", "my sister", "a young girl", "the black dog", "his brother", "our teacher",
     "the quiet boy", "a grey fox"),
    ("found", "saw", "took", "wanted", "left", "broke", "just lost"),
    ("the red box", "a long book", "the blue cup", "six green apples", "some warm bread",
     "a silver key", "ten white stones", "the zoo map"),
    ("in the garden", "near the river", "on the table", "at home", "by the window",
     "after dinner", "last night", "very early"),
)  # fmt: skip
"""A sentence is one of each; all letters come up."""
CLIPS = {"train": 210, "valid": 30, "test": 100}


def rows() -> Iterator[dict[str, str]]:
    """Yield a table row for every clip: no sentence and no voice is in two splits."""
    sentences = [" ".join(parts) for parts in itertools.product(*PARTS)]
    drawn = np.random.default_rng(SEED).permutation(len(sentences))
    start = 0
    for split, count in CLIPS.items():
        voices = VOICES[split]
        for number, index in enumerate(drawn[start : start + count]):
            voice, take = voices[number % len(voices)], number // len(voices)
            yield {
                "file": f"audio/{voice}-{split}-{take:04}.ogg",
                "label": "",
                "speaker": voice,
                "gender": gender(voice),
                "text": sentences[index].upper(),
                "split": split,
            }
        start += count


def clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return one sentence with a random accent, speed, pitch, level and noise."""
    accent = ACCENTS[int(generator.integers(len(ACCENTS)))]
    speed, pitch = int(generator.integers(165, 205)), int(generator.integers(30, 71))
    words = synthesize(row["text"].lower(), row["speaker"], accent, speed, pitch)
    return in_room(words, (15, 32), generator) * decibels(generator.uniform(-32, -20))
