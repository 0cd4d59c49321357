"""The characters that SUPERB's recogniser writes: s3prl's dictionary, and text as its numbers.

s3prl reads `downstream/asr/char.dict` into fairseq's dictionary, which puts four symbols of its
own in front. The installed package has no such file, so the order stands here.
"""

from __future__ import annotations

from collections.abc import Sequence

from .symbols import Symbols

BLANK, PADDING, END, UNKNOWN = 0, 1, 2, 3
"""Numbers of fairseq's own symbols; s3prl takes the first one, `<s>`, as CTC's blank."""
WORD_END = "|"
"""Follows every word, the last one included."""
CHARACTERS = "|ETAONIHSRDLUMWCFGYPBVK'XJQZ"
"""In the order of s3prl's `char.dict`: by how often they occur in LibriSpeech."""
SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>", *CHARACTERS)
"""The index of a symbol is the index of its logit."""

_NUMBER = {symbol: number for number, symbol in enumerate(SYMBOLS)}
_TEXT_CHARACTERS = frozenset(CHARACTERS) - {WORD_END} | {" "}


def dictionary_file() -> str:
    """Return the content of a `char.dict` for s3prl; only the order of its lines counts."""
    return "".join(f"{character} 1\n" for character in CHARACTERS)


def plain_transcript(text: str) -> str:
    """Return a transcript as s3prl takes it: upper case, single spaces."""
    return " ".join(text.upper().split())


def unsupported_characters(text: str) -> str:
    """Return the characters that are no letter A to Z, apostrophe or space, sorted."""
    return "".join(sorted(set(plain_transcript(text)) - _TEXT_CHARACTERS))


def encode(text: str) -> list[int]:
    """Return the numbers of a transcript's symbols as s3prl trains on them.

    Every word is followed by `|`, the text by `</s>`, as `SequenceDataset` and fairseq's
    `encode_line` write it. Raises `KeyError` for an unsupported character.
    """
    marked = plain_transcript(text).replace(" ", WORD_END) + WORD_END
    return [*(_NUMBER[character] for character in marked), END]


def decode(frames: Sequence[int]) -> str:
    """Return the text of the best symbol of every frame, as s3prl's expert does without a decoder.

    Repeats are one, then blanks are left out, and `</s>`; what else is no character (`<pad>`,
    `<unk>`) is written as it stands, and counts as part of a word.
    """
    kept = [
        number
        for index, number in enumerate(frames)
        if number not in (BLANK, END) and (index == 0 or frames[index - 1] != number)
    ]
    return " ".join("".join(SYMBOLS[number] for number in kept).replace(WORD_END, " ").split())


CHARACTER_SYMBOLS = Symbols(SYMBOLS, BLANK, encode, decode)
"""The symbols of character recognition."""
