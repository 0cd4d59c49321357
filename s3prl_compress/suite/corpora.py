"""The sizes of a corpus that an estimate needs, without preparing the corpus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..audio import SAMPLING_RATE, read_header
from ..tasks.base.corpus import SPLITS, Corpus
from ..tasks.base.facts import CorpusFacts
from ..tasks.registry import corpus_folder, find_task, open_corpus
from .suite_file import TaskEntry

_SAMPLED_FILES = 64
"""Number of files in a split whose length is read; their mean stands for all files."""


def corpus_facts(entry: TaskEntry, below: Path) -> CorpusFacts:
    """Return the sizes of a task's corpus if it is a folder, or is already prepared below `below`.

    For cross-validation, the first fold is measured. A corpus that does not exist yet is assumed to
    be SUPERB's own if the settings are official; otherwise its sizes are unknown.
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
    """Return the fingerprint of a task's corpus; None if it is not prepared yet."""
    corpus = _corpus(entry, below)
    return None if corpus is None else corpus.fingerprint()


def _corpus(entry: TaskEntry, below: Path) -> Corpus | None:
    folder = corpus_folder(entry.task, entry.data, below)
    return open_corpus(folder, entry.task) if os.path.exists(folder) else None


def _mean_seconds(paths: Sequence[Path]) -> float:
    sample = paths[:: max(1, len(paths) // _SAMPLED_FILES)]
    lengths = [read_header(path).length / SAMPLING_RATE for path in sample]
    return sum(lengths) / len(lengths) if lengths else 0.0
