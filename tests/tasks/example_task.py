"""A task in one file, as another package would add it: high or low voices.

Its corpus is a folder with `voices.csv` (the columns file, label, speaker, split) and recordings at
16 kHz. The head is SUPERB's utterance head.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from s3prl_compress.audio.clips import SAMPLING_RATE, check_audio
from s3prl_compress.audio.table import SPLIT_NAMES, Split
from s3prl_compress.common.errors import InputError
from s3prl_compress.common.faults import Faults
from s3prl_compress.tasks.base.corpus import SPLITS, Corpus, Item
from s3prl_compress.tasks.base.prepare import Layout, prepare_layout
from s3prl_compress.tasks.base.table import Form, read_table
from s3prl_compress.tasks.base.task import UTTERANCE_HEAD, Task

TABLE = "voices.csv"
VOICES = ("high", "low")


@dataclass(frozen=True)
class VoiceCorpus(Corpus):
    def items(self, split: Split, fold: int = 0) -> list[Item]:
        with open(self.root / TABLE, newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if SPLIT_NAMES[row["split"]] == split]
        return [
            Item(self.root / row["file"], row["label"], row["file"], row["speaker"]) for row in rows
        ]

    def check(self) -> None:
        faults = Faults()
        for split in SPLITS:
            for item in self.items(split):
                check_audio(item.path, item.relative, faults, shortest=1, rate=SAMPLING_RATE)
        faults.raise_if_any(str(self.root), "prepare the corpus again")


def open_voices(root: Path) -> VoiceCorpus:
    if not (root / TABLE).is_file():
        raise InputError(f"{root}: no voices: there is no {TABLE}")
    return VoiceCorpus(root, root.name, generated=True, variant="voices", classes=VOICES)


def prepare_voices(metadata: Path, output: Path) -> Path:
    rows = read_table(metadata, Form(), lambda rows, faults: None)
    targets = [f"audio/{number}.wav" for number in range(len(rows))]
    lines = [
        f"{target},{row.label},{row.speaker},{row.split}"
        for row, target in zip(rows, targets, strict=True)
    ]
    layout = Layout(
        "voices",
        "voices",
        VOICES,
        [(row.path, target) for row, target in zip(rows, targets, strict=True)],
        texts={TABLE: "\n".join(["file,label,speaker,split", *lines, ""])},
    )
    sources = [row.path for row in rows]
    return prepare_layout(
        layout, output, name="voices", generated=True, table=metadata, sources=sources
    )


TASK = Task(
    name="voices",
    version=1,
    title="High or low voices",
    corpus=f"{TABLE} and the recordings that it lists",
    metric="accuracy",
    s3prl="",
    head=UTTERANCE_HEAD,
    variants=("voices",),
    open_corpus=open_voices,
    prepare=prepare_voices,
    onepass="s3prl_compress.probing.utterances:run_seeds",
    recipes=Path(__file__).with_name("example_task.yaml"),
)
