"""What a suite's estimate needs to know of a corpus, without preparing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ..errors import InputError
from ..scoring import KeywordCorpus, Settings, open_corpus
from ..scoring.corpora import DEMO
from ..scoring.corpus import Split
from .recipe import TaskEntry

_SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_LOOKED_AT = 64
"""Files of a split whose length is looked up; their mean stands for the others'."""


@dataclass(frozen=True)
class CorpusFacts:
    """Sizes of a corpus; None where it is not prepared yet."""

    fingerprint: str | None = None
    train: int = 0
    dev: int = 0
    test: int = 0
    train_seconds: float = 0.0
    """Mean length of an utterance."""
    dev_seconds: float = 0.0
    test_seconds: float = 0.0
    background: int = 0
    """Recordings that silence is cut from."""
    classes: int = 0
    folds: int = 1

    @property
    def clips(self) -> int | None:
        """Utterances of all splits."""
        return None if self.fingerprint is None else self.train + self.dev + self.test

    @property
    def all_seconds(self) -> float | None:
        """Audio of all splits."""
        if self.fingerprint is None:
            return None
        train, dev = self.train * self.train_seconds, self.dev * self.dev_seconds
        return train + dev + self.test * self.test_seconds

    def trained_seconds(self, settings: Settings) -> float | None:
        """Return the audio that s3prl sends through the upstream in all runs of a cell."""
        if self.fingerprint is None:
            return None
        drawn = settings.total_steps * settings.batch_size * self.train_seconds
        drawn *= getattr(settings, "accumulation", 1)
        looks = settings.total_steps // settings.eval_step
        once = drawn + looks * self.dev * self.dev_seconds
        runs = len(settings.learning_rates) * self.folds
        return runs * once + self.folds * self.test * self.test_seconds


def corpus_facts(entry: TaskEntry, below: Path) -> CorpusFacts:
    """Look at a task's corpus where it is a folder, or was prepared below `below` before."""
    folder = _folder(entry.data, below)
    if not folder.is_dir():
        return CorpusFacts()
    corpus = open_corpus(folder)
    train, dev, test = (corpus.items(split) for split in _SPLITS)
    return CorpusFacts(
        fingerprint=corpus.fingerprint(),
        train=len(train),
        dev=len(dev),
        test=len(test),
        train_seconds=_mean_seconds([item.path for item in train]),
        dev_seconds=_mean_seconds([item.path for item in dev]),
        test_seconds=_mean_seconds([item.path for item in test]),
        background=_background(corpus),
        classes=len(corpus.classes),
    )


def _folder(data: str, below: Path) -> Path:
    """Return where `locate_corpus` has a corpus, or will have it."""
    if data == DEMO:
        return below / DEMO
    if Path(data).suffix.lower() == ".csv":
        return below / Path(data).resolve().parent.name
    return Path(data)


def _background(corpus: KeywordCorpus) -> int:
    return len(corpus.background())


def _mean_seconds(paths: Sequence[Path]) -> float:
    chosen = paths[:: max(1, len(paths) // _LOOKED_AT)]
    try:
        lengths = [soundfile.info(str(path)).duration for path in chosen]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{paths[0].parent}: a recording cannot be read ({error})") from error
    return sum(lengths) / len(lengths) if lengths else 0.0
