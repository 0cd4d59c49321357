"""Lexicons: the words that a beam search may write, spelled in the symbols of a CTC head."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...audio.table import decode_text
from ...common.errors import InputError
from ...encoder.ctc_text import SPACE

Spelling = tuple[int, ...]


@dataclass(frozen=True)
class LexiconFile:
    """A lexicon on disk."""

    path: Path
    sha256: str
    """Of the file."""
    entries: tuple[tuple[str, tuple[str, ...]], ...]
    """Words, and their symbols as the file spells them; no symbols where it does not."""


def read_lexicon(path: str | Path) -> LexiconFile:
    """Read a lexicon: one word per line, which its symbols may follow, separated by spaces.

    This is the form of fairseq's and torchaudio's lexicons (`HELLO H E L L O |`). A word with
    several spellings has several lines.

    Raises:
        InputError: it cannot be read, is not UTF-8, or holds no word.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read as a lexicon ({error.strerror}); give a file with a word per "
            "line, or lm or none"
        ) from error
    lines = (line.split() for line in decode_text(path, data).splitlines())
    entries = tuple((line[0], tuple(line[1:])) for line in lines if line)
    if not entries:
        raise InputError(f"{path}: a lexicon without a word; list one per line")
    return LexiconFile(path, hashlib.sha256(data).hexdigest(), entries)


def special_symbols(vocabulary: Sequence[str]) -> set[int]:
    """Return the indices of symbols in angle brackets, which are not text."""
    return {number for number, symbol in enumerate(vocabulary) if re.fullmatch(r"<.+>", symbol)}


def separator(vocabulary: Sequence[str]) -> int:
    """Return the index of the symbol between words.

    Raises:
        InputError: there is none.
    """
    for symbol in (SPACE, " "):
        if symbol in vocabulary:
            return vocabulary.index(symbol)
    raise InputError(
        f"the CTC head has no symbol between words ({SPACE} or a space), so its words cannot be "
        "looked up in a language model; leave the language model out"
    )


def spell(
    entries: Iterable[tuple[str, Sequence[str]]], vocabulary: Sequence[str], blank: int
) -> dict[str, set[Spelling]]:
    """Return words with their spellings as indices into `vocabulary`, the separator at the end.

    A word without a spelling is spelled by its characters. A symbol that is in the vocabulary only
    in the other case is taken in that case. Words with other symbols are left out.

    Args:
        entries: words and their symbols, as in `LexiconFile.entries`.
        vocabulary: symbols of the CTC head.
        blank: index of the blank, with which no word is spelled.
    """
    left_out = {blank, *special_symbols(vocabulary)}
    numbers = {symbol: number for number, symbol in enumerate(vocabulary) if number not in left_out}
    end = separator(vocabulary)
    spelled: dict[str, set[Spelling]] = {}
    for word, symbols in entries:
        letters = [symbol for symbol in symbols if symbol != SPACE] or list(word)
        forms = ((letter, letter.upper(), letter.lower()) for letter in letters)
        known = [next((form for form in three if form in numbers), None) for three in forms]
        indices = [numbers[form] for form in known if form is not None]
        if len(indices) == len(letters) and end not in indices:
            spelled.setdefault(word, set()).add((*indices, end))
    return spelled
