"""The sizes of a corpus that an estimate needs, without preparing the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audio import SAMPLING_RATE, read_header
from ..evaluation import Settings, open_corpus
from ..tasks.base.corpus import SPLITS, Corpus
from ..tasks.ks.corpus import KeywordCorpus
from ..tasks.registry import corpus_folder
from .suite_file import TaskEntry

_SAMPLED_FILES = 64
"""Number of files in a split whose length is read; their mean stands for all files."""


@dataclass(frozen=True)
class CorpusInfo:
    """Sizes of a corpus."""

    fingerprint: str | None = None
    """None if the corpus is not prepared yet."""
    known: bool = True
    """Whether the sizes below are known."""
    train: int = 0
    """Number of utterances in the training split; `dev` and `test` likewise."""
    dev: int = 0
    test: int = 0
    train_seconds: float = 0.0
    """Mean length of a training utterance in seconds; the other splits likewise."""
    dev_seconds: float = 0.0
    test_seconds: float = 0.0
    background: int = 0
    """Number of background recordings that silence is cropped from."""
    classes: int = 0
    folds: int = 1

    @property
    def clips(self) -> int | None:
        """Number of utterances in all splits; None if it is unknown."""
        return self.train + self.dev + self.test if self.known else None

    @property
    def all_seconds(self) -> float | None:
        """Seconds of audio in all splits; None if it is unknown."""
        if not self.known:
            return None
        train, dev = self.train * self.train_seconds, self.dev * self.dev_seconds
        return train + dev + self.test * self.test_seconds

    def trained_seconds(self, settings: Settings) -> float | None:
        """Return the seconds of audio that s3prl's runner sends through the upstream for a cell.

        All learning rates and folds together; None if the sizes are unknown.
        """
        if not self.known:
            return None
        training = settings.total_steps * settings.batch_size * self.train_seconds
        training *= settings.accumulation
        evaluations = settings.total_steps // settings.eval_step
        one_run = training + evaluations * self.dev * self.dev_seconds
        runs = len(settings.learning_rates) * self.folds
        return runs * one_run + self.folds * self.test * self.test_seconds


OFFICIAL = {
    "ks": CorpusInfo(
        train=51_094, dev=6_798, test=3_081, train_seconds=1.0, dev_seconds=1.0, test_seconds=1.0,
        background=6, classes=12,
    ),
    "sid": CorpusInfo(
        train=138_361, dev=6_904, test=8_251, train_seconds=8.2, dev_seconds=8.2,
        test_seconds=8.2, classes=1251,
    ),
    "er": CorpusInfo(
        train=3_548, dev=887, test=1_106, train_seconds=4.5, dev_seconds=4.5, test_seconds=4.5,
        classes=4, folds=5,
    ),
    "asr": CorpusInfo(
        train=28_539, dev=2_703, test=2_620, train_seconds=12.7, dev_seconds=7.2,
        test_seconds=7.4,
    ),
}  # fmt: skip
"""Approximate sizes of SUPERB's corpora: Speech Commands v0.01, VoxCeleb1, IEMOCAP, LibriSpeech."""


def corpus_info(entry: TaskEntry, below: Path) -> CorpusInfo:
    """Return the sizes of a task's corpus if it is a folder, or is already prepared below `below`.

    For cross-validation, the first fold is measured. A corpus that does not exist yet is assumed to
    be SUPERB's own if the settings are official; otherwise its sizes are unknown.
    """
    corpus = _corpus(entry, below)
    if corpus is None:
        return OFFICIAL[entry.task] if entry.recipe == "official" else CorpusInfo(known=False)
    train, dev, test = (corpus.items(split, corpus.folds[0]) for split in SPLITS)
    return CorpusInfo(
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
    """Return the fingerprint of a task's corpus; None if it is not prepared yet."""
    corpus = _corpus(entry, below)
    return None if corpus is None else corpus.fingerprint()


def _corpus(entry: TaskEntry, below: Path) -> Corpus | None:
    folder = corpus_folder(entry.task, entry.data, below)
    return open_corpus(folder, entry.task) if folder.is_dir() else None


def _mean_seconds(paths: Sequence[Path]) -> float:
    sample = paths[:: max(1, len(paths) // _SAMPLED_FILES)]
    lengths = [read_header(path).length / SAMPLING_RATE for path in sample]
    return sum(lengths) / len(lengths) if lengths else 0.0
