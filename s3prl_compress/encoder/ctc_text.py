"""Encoding text as symbols of a CTC vocabulary, and decoding it.

The conventions are those of wav2vec2's tokenizer in transformers, so that imported and new heads
agree: `|` stands for the space, and symbols in angle brackets are not text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..common.errors import InputError

BLANK = "<pad>"
SPACE = "|"
UNKNOWN = "<unk>"


def character_vocabulary(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the blank, the space, and every other character of `texts` in order."""
    characters = set().union(*map(set, texts)) - set(" ")
    return (BLANK, SPACE, *sorted(characters - {SPACE}))


def plain_text(text: str) -> str:
    """Return `text` in upper case and with single spaces, as word errors are counted."""
    return " ".join(text.upper().split())


def encode(text: str, vocabulary: Sequence[str]) -> list[int]:
    """Return `text` as indices into the vocabulary.

    A character that is in the vocabulary only in the other case is encoded in that case; any other
    character that is missing becomes the unknown symbol.

    Raises:
        InputError: a character is missing, and the vocabulary has no unknown symbol.
    """
    numbers = {symbol: number for number, symbol in enumerate(vocabulary)}
    space = SPACE if SPACE in numbers else " "
    indices = []
    for character in " ".join(text.split()).replace(" ", space):
        forms = (character, character.upper(), character.lower(), UNKNOWN)
        known = [numbers[form] for form in forms if form in numbers]
        if not known:
            raise InputError(
                f"transcript {text!r}: the CTC head has no symbol for {character!r}; start a new "
                "head, or remove it from the transcripts"
            )
        indices.append(known[0])
    return indices


def decode(frames: Iterable[int], vocabulary: Sequence[str], blank: int) -> str:
    """Return the text of the best symbol of every frame: merge repeats, then drop blanks."""
    text, before = [], blank
    for number in frames:
        if number not in (before, blank):
            symbol = vocabulary[number]
            if not (symbol.startswith("<") and symbol.endswith(">") and len(symbol) > 2):
                text.append(symbol)
        before = number
    return " ".join("".join(text).replace(SPACE, " ").split())
