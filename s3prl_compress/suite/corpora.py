"""What a suite's estimate needs to know of a corpus, without preparing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..audio import SAMPLING_RATE, read_header
from ..tasks.base.corpus import SPLITS, Corpus
from ..tasks.base.facts import CorpusFacts
from ..tasks.registry import corpus_folder, find_task, open_corpus
from .recipe import TaskEntry

_LOOKED_AT = 64
"""Files of a split whose length is looked up; their mean stands for the others'."""


def corpus_facts(entry: TaskEntry, below: Path) -> CorpusFacts:
    """Look at a task's corpus where it is a folder, or was prepared below `below` before.

    Of cross-validation the first fold is looked at. A corpus that is not there yet is taken for
    SUPERB's own where the settings are official.
    """
    corpus = _corpus(entry, below)
    if corpus is None:
        official = find_task(entry.task).official if entry.recipe == "official" else None
        return official or CorpusFacts(known=False)
    train, dev, test = (corpus.items(split, corpus.folds[0]) for split in SPLITS)
    return CorpusFacts(
        fingerprint=corpus.fingerprint(),
        train=len(train),
        dev=len(dev),
        test=len(test),
        train_seconds=_mean_seconds([item.path for item in train]),
        dev_seconds=_mean_seconds([item.path for item in dev]),
        test_seconds=_mean_seconds([item.path for item in test]),
        background=len(corpus.background()),
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
