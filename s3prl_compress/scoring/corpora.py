"""Corpora by name or table: the packaged demo, or one that a person brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .corpus import check_corpus, open_corpus
from .prepare import demo_corpus, prepare_ks

DEMO = "demo"
"""In place of a table or a folder: the generated speech that comes with the package."""


def prepare_corpus(metadata: str | Path, output: Path) -> Path:
    """Prepare a keyword-spotting corpus from a table, or the packaged one for the word `demo`.

    Raises:
        InputError: the table has faults, or `output` is something else.
    """
    if str(metadata) == DEMO:
        return demo_corpus(output)
    return prepare_ks(Path(metadata), output)


def locate_corpus(data: str, below: Path) -> Path:
    """Return the folder of a corpus: `data` itself, or prepared on first use below `below`.

    `data` is a corpus folder, a table for `prepare_corpus`, or the word `demo`.
    """
    if data == DEMO:
        return demo_corpus(below / DEMO)
    if Path(data).suffix.lower() == ".csv":
        return prepare_ks(Path(data), below / Path(data).resolve().parent.name)
    return Path(data)


def corpus_figures(folder: Path) -> dict[str, Any]:
    """Return what there is in a corpus, checked, under stable keys."""
    corpus = open_corpus(folder)
    check_corpus(corpus)
    record = corpus.record()
    return {
        "output": str(folder),
        "name": record.name,
        "variant": corpus.variant,
        "classes": list(corpus.classes),
        "sizes": record.sizes,
        "background_files": len(corpus.background()),
        "generated": record.generated,
        "fingerprint": record.fingerprint,
    }
