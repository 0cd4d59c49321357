"""Files of n-gram language models: ARPA, also compressed by gzip, and KenLM's binaries."""

from __future__ import annotations

import gzip
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from ...common.errors import InputError
from ...common.files import sha256
from ...encoder.ctc_text import SPACE

_KENLM_MAGIC = b"mmap lm http://kheafield.com/code"
_GZIP_MAGIC = b"\x1f\x8b"
_MARKS = {"<s>", "</s>", "<unk>", "<UNK>"}
_COUNT = re.compile(r"ngram (\d+) *= *(\d+)")

Fold = Callable[[str], str]
_FOLDS: tuple[Fold, ...] = (str, str.lower, str.upper)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A language model on disk; the decoder loads it itself."""

    path: Path
    sha256: str
    """Of the file."""
    order: int
    """Its n."""
    words: tuple[str, ...] | None
    """The vocabulary without sentence marks, in the file's order; None for a binary, which does
    not list it."""
    knows: Callable[[str], bool]
    """Whether a word is in the vocabulary."""

    @property
    def of_characters(self) -> bool:
        """Whether it was trained on characters, with the word separator as one of them."""
        return self.knows(SPACE)

    def fold(self, words: Iterable[str]) -> Fold:
        """Return the change of case under which it knows most of `words`; none where these tie."""
        words = list(words)
        return max(_FOLDS, key=lambda fold: sum(self.knows(fold(word)) for word in words))


def open_language_model(path: str | Path) -> LanguageModel:
    """Check the file of a language model, and read its vocabulary if it is an ARPA file.

    Raises:
        InputError: there is no such file, or it is neither an ARPA file nor a KenLM binary.
    """
    path = Path(path)
    try:
        facts = path.stat()
        if not path.is_file():
            raise InputError(f"{path}: not a file; give an ARPA file or a KenLM binary")
        return _open(path, facts.st_size, facts.st_mtime_ns)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read as a language model ({reason})") from error


@cache
def _open(path: Path, size: int, changed: int) -> LanguageModel:
    """Open a file, or return what an earlier call found, unless the file has changed since."""
    digest = sha256(path)
    with path.open("rb") as file:
        start = file.read(len(_KENLM_MAGIC))
    if start == _KENLM_MAGIC:
        model = _load_binary(path)
        return LanguageModel(path, digest, model.order, None, model.__contains__)
    compressed = start.startswith(_GZIP_MAGIC)
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if compressed
        else path.open(encoding="utf-8") as text
    ):
        order, words = _read_arpa(path, text)
    known = frozenset(words)
    return LanguageModel(
        path, digest, order, tuple(w for w in words if w not in _MARKS), known.__contains__
    )


def _read_arpa(path: Path, text: TextIO) -> tuple[int, list[str]]:
    """Return the order of an ARPA file and the words of its unigrams; the rest is not read."""
    lines = (line.strip() for line in text)
    if next((line for line in lines if line), "") != "\\data\\":
        raise InputError(
            f"{path}: neither an ARPA file, which starts with \\data\\, nor a KenLM binary"
        )
    counts: dict[int, int] = {}
    words: list[str] = []
    for line in lines:
        if line == "\\1-grams:":
            break
        if found := _COUNT.fullmatch(line):
            counts[int(found[1])] = int(found[2])
    for line in lines:
        if not line or line.startswith("\\"):
            break
        # log10 probability, word and back-off weight
        words.append(line.split()[1] if len(line.split()) > 1 else "")
    if not counts or "" in words or len(words) != counts.get(1):
        raise InputError(
            f"{path}: a damaged ARPA file: {len(words)} unigrams, where its head says "
            f"{counts.get(1, 'nothing')}"
        )
    return max(counts), words


def _load_binary(path: Path) -> Any:
    import kenlm

    try:
        with quiet():
            return kenlm.Model(str(path))
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: a KenLM binary that cannot be loaded ({reason})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep KenLM, which is C++, from writing to standard error: progress bars and warnings."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
