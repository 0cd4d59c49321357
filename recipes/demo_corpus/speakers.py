"""Speaker identification: twenty voices, with other sentences in each split."""

from __future__ import annotations

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

SPEAKERS = (*VOICES["train"], *VOICES["valid"])
"""A speaker is a voice with an accent, a speed and a pitch of its own."""
SENTENCES = {
    "train": (
        "the kettle is on", "bring me a chair", "where is the ladder", "it rained all day",
        "nobody was at home", "close the door please", "we walked to the lake",
        "the train was late", "she painted the fence", "two eggs and some milk",
        "a bridge over the stream", "he lost his gloves", "the bell rang twice",
        "put it on the shelf", "my shoes are wet", "the moon is very bright",
    ),
    "valid": (
        "the soup is too hot", "we waited for an hour", "a letter came this morning",
        "the cat sleeps by the fire",
    ),
    "test": (
        "the apples are ripe", "turn left at the mill", "he plays the old piano",
        "there is snow on the roof", "they sold the house", "a fox crossed the road",
        "the lamp went out", "what a lovely coat", "our boat needs paint", "keep the change",
        "the clock is slow", "I forgot the bread",
    ),
}  # fmt: skip
CLIPS = {"train": 8, "valid": 2, "test": 6}
"""Of each speaker."""


def rows() -> Iterator[dict[str, str]]:
    """Yield a table row for every clip; the sentences of a split go round among the speakers."""
    for split, sentences in SENTENCES.items():
        for index, voice in enumerate(SPEAKERS):
            for take in range(CLIPS[split]):
                # 5 is prime to the number of sentences in each split, so that all come up.
                number = (index + 5 * take) % len(sentences)
                yield {
                    "file": f"audio/{voice}_{split}_{take}.ogg",
                    "label": voice,
                    "speaker": voice,
                    "gender": gender(voice),
                    "text": sentences[number],
                    "split": split,
                }


def clip(row: dict[str, str], generator: np.random.Generator) -> Samples:
    """Return one sentence as its speaker says it, a little different each time."""
    number = SPEAKERS.index(row["speaker"])
    accent = ACCENTS[number % len(ACCENTS)]
    # 7 is prime to 20: neighbours in the list differ clearly.
    pitch = 35 + 30 * (7 * number % 20) / 19 + generator.normal(0, 6)
    speed = 175 + 30 * (3 * number % 20) / 19 + generator.normal(0, 12)
    words = synthesize(row["text"], row["speaker"], accent, int(speed), int(np.clip(pitch, 5, 95)))
    return in_room(words, (3, 20), generator) * decibels(generator.uniform(-34, -22))
