"""The phonemes that a recogniser writes: SUPERB's, or those of a corpus of one's own.

s3prl puts three symbols of its own in front of the lines of its vocabulary file, which its wheel
lacks: `downstream/ctc/vocab/phoneme.txt` in its repository.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..base.symbols import Symbols

BLANK, END = 0, 1
SPECIAL = ("<pad>", "<eos>", "<unk>")
"""s3prl's own symbols. The first is CTC's blank, the second follows every utterance, and the third
stands for phonemes outside of the vocabulary, of which a checked corpus has none."""

_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"
PHONEMES = (
    "SIL",
    "SPN",
    *sorted(
        [*_CONSONANTS.split(), *(vowel + stress for vowel in _VOWELS.split() for stress in "012")]
    ),
)
"""SUPERB's, in the order of s3prl's file: silence and noise, which no word has, then ARPAbet with
the three degrees of stress of the CMU dictionary."""


def phoneme_symbols(phonemes: Sequence[str]) -> Symbols:
    """Return the symbols of an inventory of phonemes.

    A label is phonemes separated by spaces. It is trained on as s3prl's `WordTextEncoder` writes
    it, with `<eos>` at the end, and read back as s3prl's expert does: repeats are merged, then
    blanks and `<eos>` are left out. `<unk>` is written as it stands and counts as a phoneme.
    """
    names = (*SPECIAL, *phonemes)
    numbers = {name: number for number, name in enumerate(names)}

    def encode(label: str) -> list[int]:
        return [*(numbers[phoneme] for phoneme in label.split()), END]

    def decode(frames: Sequence[int]) -> str:
        return " ".join(
            names[number]
            for index, number in enumerate(frames)
            if number not in (BLANK, END) and (index == 0 or frames[index - 1] != number)
        )

    return Symbols(names, BLANK, encode, decode)


def vocabulary_file(phonemes: Sequence[str]) -> str:
    """Return the content of a vocabulary file for s3prl, one phoneme a line."""
    return "".join(f"{phoneme}\n" for phoneme in phonemes)
