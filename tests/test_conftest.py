from __future__ import annotations

from pathlib import Path

from s3prl_compress.tasks.registry import open_corpus


def test_the_tiny_corpora_are_valid(tiny_corpus: Path, tiny_digits_corpus: Path) -> None:
    sizes = {}
    for root in (tiny_corpus, tiny_digits_corpus):
        corpus = open_corpus(root)
        corpus.check()
        splits = ("train", "dev", "test")
        sizes[corpus.variant] = [len(corpus.items(split)) for split in splits]  # type: ignore[arg-type]
    assert sizes == {"official": [60, 36, 48], "digits": [50, 30, 40]}
