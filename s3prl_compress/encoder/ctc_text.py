"""Encoding text as symbols of a CTC vocabulary, and decoding it.

The conventions are those of wav2vec2's tokenizer in transformers, so that imported and new heads
agree: `|` stands for the space, and symbols in angle brackets are not text.
"""

from __future__ import annotations

from collections import Counter
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


def check_vocabulary(texts: Sequence[str], vocabulary: Sequence[str], where: str) -> None:
    """Check that a vocabulary is one for these transcripts, such as that of their alphabet.

    Single characters may be missing: their words count as errors, or become the unknown symbol.

    Args:
        texts: transcripts; case does not matter.
        vocabulary: symbols of a CTC head.
        where: source of the transcripts, for the message.

    Raises:
        InputError: more than half of the characters cannot be written, or the words of more than
            half of the transcripts cannot be separated.
    """
    symbols = "".join(symbol for symbol in vocabulary if not _in_brackets(symbol))
    letters = Counter(character for text in texts for character in text.upper() if character != " ")
    missing = letters.keys() - set(symbols.upper())
    share = sum(letters[one] for one in missing) / max(letters.total(), 1)
    if share > 0.5:
        some = ", ".join(sorted(missing, key=lambda one: (-letters[one], one))[:5])
        raise InputError(
            f"{where}: the vocabulary of the CTC head does not match the transcripts: it has no "
            f"symbol for {share:.0%} of their characters, such as {some}; take a model for this "
            "text, or fine-tune one with a new head (--method ctc --new_head true)"
        )
    several = sum(len(text.split()) > 1 for text in texts)
    if 2 * several > len(texts) and not {SPACE, " "} & set(symbols):
        raise InputError(
            f"{where}: the vocabulary of the CTC head does not match the transcripts: it has no "
            f"symbol between words ({SPACE}); take a model for words, or fine-tune one with a new "
            "head (--method ctc --new_head true)"
        )


def decode(frames: Iterable[int], vocabulary: Sequence[str], blank: int) -> str:
    """Return the text of the best symbol of every frame: merge repeats, then drop blanks."""
    text, before = [], blank
    for number in frames:
        if number not in (before, blank):
            symbol = vocabulary[number]
            if not _in_brackets(symbol):
                text.append(symbol)
        before = number
    return " ".join("".join(text).replace(SPACE, " ").split())


def _in_brackets(symbol: str) -> bool:
    """Say whether a symbol is no text, such as the blank."""
    return symbol.startswith("<") and symbol.endswith(">") and len(symbol) > 2
