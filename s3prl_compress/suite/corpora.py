"""What a suite's estimate needs to know of a corpus, without preparing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from ..errors import InputError
from ..scoring import Settings, open_corpus
from ..scoring.corpora.base import SPLITS, Corpus
from ..scoring.corpora.keywords import KeywordCorpus
from ..scoring.corpora.opening import corpus_folder
from .recipe import TaskEntry

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
        drawn *= settings.accumulation
        looks = settings.total_steps // settings.eval_step
        once = drawn + looks * self.dev * self.dev_seconds
        runs = len(settings.learning_rates) * self.folds
        return runs * once + self.folds * self.test * self.test_seconds


def corpus_facts(entry: TaskEntry, below: Path) -> CorpusFacts:
    """Look at a task's corpus where it is a folder, or was prepared below `below` before.

    Of cross-validation the first fold is looked at.
    """
    corpus = _corpus(entry, below)
    if corpus is None:
        return CorpusFacts()
    train, dev, test = (corpus.items(split, corpus.folds[0]) for split in SPLITS)
    return CorpusFacts(
        fingerprint=corpus.fingerprint(),
        train=len(train),
        dev=len(dev),
        test=len(test),
        train_seconds=_mean_seconds([item.path for item in train]),
        dev_seconds=_mean_seconds([item.path for item in dev]),
        test_seconds=_mean_seconds([item.path for item in test]),
        background=len(corpus.background()) if isinstance(corpus, KeywordCorpus) else 0,
        classes=len(corpus.classes),
        folds=len(corpus.folds),
    )


def corpus_fingerprint(entry: TaskEntry, below: Path) -> str | None:
    """Return the fingerprint of a task's corpus; None where it is not prepared yet."""
    corpus = _corpus(entry, below)
    return None if corpus is None else corpus.fingerprint()


def _corpus(entry: TaskEntry, below: Path) -> Corpus | None:
    folder = corpus_folder(entry.task, entry.data, below)
    return open_corpus(folder, entry.task) if folder.is_dir() else None


def _mean_seconds(paths: Sequence[Path]) -> float:
    chosen = paths[:: max(1, len(paths) // _LOOKED_AT)]
    try:
        lengths = [soundfile.info(str(path)).duration for path in chosen]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{paths[0].parent}: a recording cannot be read ({error})") from error
    return sum(lengths) / len(lengths) if lengths else 0.0
