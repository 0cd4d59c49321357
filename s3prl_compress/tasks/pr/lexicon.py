"""Pronunciation dictionaries: a word and its phonemes on each line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...audio.table import decode_text
from ...common.errors import InputError

LEXICONS = ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt")
"""The two that SUPERB's phonemes come from, in this order."""


def read_lexicon(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Read lexicons as s3prl does: of several pronunciations of a word the first one counts.

    Raises:
        InputError: a file cannot be read, or is not UTF-8.
    """
    lexicon: dict[str, list[str]] = {}
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        for line in decode_text(path, data).splitlines():
            word, *phonemes = line.split() or [""]
            if word:
                lexicon.setdefault(word, phonemes)
    return lexicon


def find_lexicons(*folders: Path) -> list[Path]:
    """Return the paths of SUPERB's lexicons, each in the first of the folders that has it.

    Raises:
        InputError: none of the folders has one of them.
    """
    paths = []
    for name in LEXICONS:
        places = [folder / name for folder in folders if (folder / name).is_file()]
        if not places:
            raise InputError(
                f"{folders[0]}: no {name} in it; SUPERB's phonemes come from {LEXICONS[0]} and "
                f"{LEXICONS[1]} (https://huggingface.co/datasets/s3prl/g2p, folder lexicon): "
                "put both there"
            )
        paths.append(places[0])
    return paths
