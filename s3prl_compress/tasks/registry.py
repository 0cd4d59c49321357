"""Corpora by task and name: the packaged demo, or one that a person brings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from .asr.prepare import demo_transcripts, prepare_transcripts
from .base.corpus import Corpus
from .base.transcripts import open_transcripts
from .er.corpus import open_emotions
from .er.prepare import demo_emotions, prepare_emotions
from .ks.corpus import open_keywords
from .ks.prepare import demo_keywords, prepare_keywords
from .sid.corpus import open_speakers
from .sid.prepare import demo_speakers, prepare_speakers

DEMO = "demo"
"""In place of a table or a folder: the generated speech that comes with the package."""

_OPEN: Mapping[str, Callable[[Path], Corpus]] = {
    "ks": open_keywords,
    "sid": open_speakers,
    "er": open_emotions,
    "asr": open_transcripts,
}
_PREPARE: Mapping[str, Callable[[Path, Path], Path]] = {
    "ks": prepare_keywords,
    "sid": prepare_speakers,
    "er": prepare_emotions,
    "asr": prepare_transcripts,
}
_DEMO: Mapping[str, Callable[[Path], Path]] = {
    "ks": demo_keywords,
    "sid": demo_speakers,
    "er": demo_emotions,
    "asr": demo_transcripts,
}


def open_corpus(root: Path | str, task: str = "ks") -> Corpus:
    """Find the parts of a corpus folder; its `check` says whether they can be used.

    Raises:
        InputError: there is no corpus for this task in the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give a corpus that `prepare {task}` wrote")
    return _OPEN[task](root)


def prepare_corpus(task: str, metadata: str | Path, output: Path) -> Path:
    """Prepare a corpus from a table, or the packaged one for the word `demo`.

    For emotion recognition the folder of IEMOCAP will do, too.

    Raises:
        InputError: the table has faults, or `output` is something else.
    """
    if str(metadata) == DEMO:
        return _DEMO[task](output)
    return _PREPARE[task](Path(metadata), output)


def locate_corpus(task: str, data: str, below: Path) -> Path:
    """Return the folder of a corpus: `data` itself, or prepared on first use below `below`.

    `data` is a corpus folder, a table for `prepare_corpus`, or the word `demo`.
    """
    folder = corpus_folder(task, data, below)
    return folder if folder == Path(data) else prepare_corpus(task, data, folder)


def corpus_folder(task: str, data: str, below: Path) -> Path:
    """Return where `locate_corpus` has a corpus, or would put it; nothing is prepared."""
    if data == DEMO:
        return below / f"{DEMO}_{task}"
    if Path(data).suffix.lower() == ".csv":
        table = Path(data).resolve()
        # Tables of one name in folders of one name are still two corpora.
        place = hashlib.sha256(str(table).encode()).hexdigest()[:6]
        return below / f"{table.parent.name}.{task}.{place}"
    return Path(data)


def corpus_figures(folder: Path, task: str) -> dict[str, Any]:
    """Return what there is in a corpus, checked, under stable keys."""
    corpus = open_corpus(folder, task)
    corpus.check()
    record = corpus.record()
    return {
        "output": str(folder),
        "task": task,
        "name": record.name,
        "variant": corpus.variant,
        "classes": list(corpus.classes),
        "folds": len(corpus.folds),
        "sizes": record.sizes,
        "generated": record.generated,
        "fingerprint": record.fingerprint,
    }
