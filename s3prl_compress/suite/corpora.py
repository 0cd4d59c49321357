"""What a suite's estimate needs to know of a corpus, without preparing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audio import SAMPLING_RATE, read_header
from ..evaluation import Settings, open_corpus
from ..tasks.base.corpus import SPLITS, Corpus
from ..tasks.ks.corpus import KeywordCorpus
from ..tasks.registry import corpus_folder
from .recipe import TaskEntry

_LOOKED_AT = 64
"""Files of a split whose length is looked up; their mean stands for the others'."""


@dataclass(frozen=True)
class CorpusFacts:
    """Sizes of a corpus; without a fingerprint it is not prepared yet."""

    fingerprint: str | None = None
    known: bool = True
    """False: not even the sizes."""
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
        """Utterances of all splits; None where nobody knows."""
        return self.train + self.dev + self.test if self.known else None

    @property
    def all_seconds(self) -> float | None:
        """Audio of all splits; None where nobody knows."""
        if not self.known:
            return None
        train, dev = self.train * self.train_seconds, self.dev * self.dev_seconds
        return train + dev + self.test * self.test_seconds

    def trained_seconds(self, settings: Settings) -> float | None:
        """Return the audio that s3prl sends through the upstream in all runs of a cell."""
        if not self.known:
            return None
        drawn = settings.total_steps * settings.batch_size * self.train_seconds
        drawn *= settings.accumulation
        looks = settings.total_steps // settings.eval_step
        once = drawn + looks * self.dev * self.dev_seconds
        runs = len(settings.learning_rates) * self.folds
        return runs * once + self.folds * self.test * self.test_seconds


OFFICIAL = {
    "ks": CorpusFacts(
        train=51_094, dev=6_798, test=3_081, train_seconds=1.0, dev_seconds=1.0, test_seconds=1.0,
        background=6, classes=12,
    ),
    "sid": CorpusFacts(
        train=138_361, dev=6_904, test=8_251, train_seconds=8.2, dev_seconds=8.2,
        test_seconds=8.2, classes=1251,
    ),
    "er": CorpusFacts(
        train=3_548, dev=887, test=1_106, train_seconds=4.5, dev_seconds=4.5, test_seconds=4.5,
        classes=4, folds=5,
    ),
    "asr": CorpusFacts(
        train=28_539, dev=2_703, test=2_620, train_seconds=12.7, dev_seconds=7.2,
        test_seconds=7.4,
    ),
}  # fmt: skip
"""About the sizes of SUPERB's corpora: Speech Commands v0.01, VoxCeleb1, IEMOCAP, LibriSpeech."""


def corpus_facts(entry: TaskEntry, below: Path) -> CorpusFacts:
    """Look at a task's corpus where it is a folder, or was prepared below `below` before.

    Of cross-validation the first fold is looked at. A corpus that is not there yet is taken for
    SUPERB's own where the settings are official.
    """
    corpus = _corpus(entry, below)
    if corpus is None:
        return OFFICIAL[entry.task] if entry.recipe == "official" else CorpusFacts(known=False)
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
    lengths = [read_header(path).length / SAMPLING_RATE for path in chosen]
    return sum(lengths) / len(lengths) if lengths else 0.0
