"""Text as the symbols of a CTC vocabulary, and back.

The conventions are those of wav2vec2's tokenizer in transformers, so that imported heads and
new ones read alike: `|` stands for the space, and symbols in angle brackets are not text.
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
    """Return `text` as it is compared: upper case, as LibriSpeech has it, and single spaces."""
    return " ".join(text.upper().split())


def encode(text: str, vocabulary: Sequence[str]) -> list[int]:
    """Return the numbers of the symbols of `text`.

    A character that the vocabulary has in the other case only is taken in that case; one that
    it has not at all becomes the unknown symbol.

    Raises:
        InputError: such a character, and the vocabulary has no unknown symbol.
    """
    numbers = {symbol: number for number, symbol in enumerate(vocabulary)}
    space = SPACE if SPACE in numbers else " "
    found = []
    for character in " ".join(text.split()).replace(" ", space):
        forms = (character, character.upper(), character.lower(), UNKNOWN)
        known = [numbers[form] for form in forms if form in numbers]
        if not known:
            raise InputError(
                f"transcript {text!r}: the CTC head has no symbol for {character!r}; start a new "
                "head, or take it out of the transcripts"
            )
        found.append(known[0])
    return found


def decode(frames: Iterable[int], vocabulary: Sequence[str], blank: int) -> str:
    """Return the text of the best symbol of every frame: repeats are one, blanks are none."""
    text, before = [], blank
    for number in frames:
        if number not in (before, blank):
            symbol = vocabulary[number]
            if not (symbol.startswith("<") and symbol.endswith(">") and len(symbol) > 2):
                text.append(symbol)
        before = number
    return " ".join("".join(text).replace(SPACE, " ").split())
