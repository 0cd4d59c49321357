"""CTC beam search with a language model, by flashlight-text and KenLM.

The score of a text is that of its best alignment, the sum of its symbols' log-probabilities over
all frames, plus `weight` times the log10 probability of the words and the end of the sentence,
plus `word_score` for every word. Hypotheses with the same text are not added up.

Reference:
    Collobert et al.: Wav2Letter, arXiv 1609.03193; Kahn et al.: Flashlight, ICML 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ...common.errors import InputError
from ...encoder.ctc_text import SPACE, decode, plain_text
from .language_model import LanguageModel, quiet
from .lexicon import Spelling, separator, special_symbols

THRESHOLD = 50.0
"""Hypotheses that score this much below the best one of a frame are dropped: torchaudio's value."""
_IMPOSSIBLE = -1e4
"""A log-probability. Infinity would make differences of scores undefined."""


class WordSearch:
    """Writes words of a lexicon, scored by a language model of words.

    Args:
        model: the language model.
        spelled: words with their spellings; see `lexicon.spell`.
        vocabulary: symbols of the CTC head.
        blank: index of the blank.
        beam: number of hypotheses that are kept after each frame.

    Raises:
        InputError: the language model knows none of the words, or cannot be loaded.
    """

    def __init__(
        self,
        model: LanguageModel,
        spelled: Mapping[str, set[Spelling]],
        vocabulary: Sequence[str],
        blank: int,
        beam: int,
    ) -> None:
        from flashlight.lib.text.decoder import SmearingMode, Trie
        from flashlight.lib.text.dictionary import Dictionary

        fold = model.fold(spelled)
        self.unknown_words = sum(not model.knows(fold(word)) for word in spelled)
        """Number of words that the language model does not know; it scores them as such."""
        if self.unknown_words == len(spelled):
            raise InputError(
                f"{model.path}: knows none of the {len(spelled)} words that the CTC head can spell "
                f"({', '.join(list(spelled)[:3])}); its vocabulary does not match"
            )
        self._symbols, self._blank, self._beam = len(vocabulary), blank, beam
        self._separator = separator(vocabulary)
        self._words = Dictionary()
        spellings: dict[str, set[Spelling]] = {}
        for word, own in spelled.items():
            spellings.setdefault(fold(word), set()).update(own)
        for word in spellings:
            self._words.add_entry(word)
        self._model = _load(model, self._words)
        self._trie = Trie(self._symbols, self._separator)
        start = self._model.start(False)
        for number, (_, own) in enumerate(spellings.items()):
            _, score = self._model.score(start, number)
            for spelling in sorted(own):
                self._trie.insert(list(spelling), number, score)
        # Letters are scored by the best word that they can still become.
        self._trie.smear(SmearingMode.MAX)

    def texts(
        self, utterances: Sequence[Tensor], weight: float, word_score: float
    ) -> Iterator[str]:
        """Yield the best text of each utterance, in upper case; "" without a frame.

        Args:
            utterances: log-probabilities, [frames, symbols] each.
            weight: factor of the language model's log10 probabilities.
            word_score: added for each word.
        """
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconDecoder,
            LexiconDecoderOptions,
        )

        options = LexiconDecoderOptions(
            beam_size=self._beam,
            beam_size_token=self._symbols,
            beam_threshold=THRESHOLD,
            lm_weight=weight,
            word_score=word_score,
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconDecoder(
            options, self._trie, self._model, self._separator, self._blank, -1, [], False
        )
        # Every spelling ends with the separator, which need not follow the last word of an
        # utterance: one more frame, of nothing else, closes that word at no cost.
        last = np.full((1, self._symbols), _IMPOSSIBLE, np.float32)
        last[0, self._separator] = 0.0
        for values in utterances:
            if not len(values):
                yield ""
                continue
            frames = np.ascontiguousarray(np.concatenate([values.float().numpy(), last]))
            best = decoder.decode(frames.ctypes.data, *frames.shape)[0]
            words = (self._words.get_entry(number) for number in best.words if number >= 0)
            yield plain_text(" ".join(words))


class CharacterSearch:
    """Writes any sequence of characters, scored by a language model of characters.

    Separators in the first frames are silence before the text, which is not scored.

    Args:
        model: the language model, in which `|` stands between words.
        vocabulary: symbols of the CTC head.
        blank: index of the blank.
        beam: number of hypotheses that are kept after each frame.

    Raises:
        InputError: the language model is not one of characters, or cannot be loaded.
    """

    def __init__(
        self, model: LanguageModel, vocabulary: Sequence[str], blank: int, beam: int
    ) -> None:
        from flashlight.lib.text.dictionary import Dictionary

        self._vocabulary, self._blank, self._beam = tuple(vocabulary), blank, beam
        self._separator = separator(vocabulary)
        self._impossible = sorted(special_symbols(vocabulary) - {blank})
        left_out = {blank, self._separator, *self._impossible}
        letters = [symbol for n, symbol in enumerate(vocabulary) if n not in left_out]
        fold = model.fold(letters)
        if len({fold(letter) for letter in letters}) < len(letters):
            fold = str  # the head tells cases apart
        unknown = [letter for letter in letters if not model.knows(fold(letter))]
        if not model.of_characters or len(unknown) == len(letters):
            raise InputError(
                f"{model.path}: not a language model of characters, with {SPACE} between words, "
                "which decoding without a lexicon needs; make one with s3prl-compress ngram "
                "--unit characters"
            )
        self.unknown_words = len(unknown)
        """Number of letters that the language model does not know; it scores them as such."""
        symbols = Dictionary()
        for number, symbol in enumerate(vocabulary):
            if number == self._separator:
                symbols.add_entry(SPACE)
            elif number in left_out:  # never scored; the name only has to be unique
                symbols.add_entry(f"<{number}>")
            else:
                symbols.add_entry(fold(symbol))
        self._model = _load(model, symbols)

    def texts(
        self, utterances: Sequence[Tensor], weight: float, word_score: float
    ) -> Iterator[str]:
        """Yield the best text of each utterance, in upper case; "" without a frame.

        Args:
            utterances: log-probabilities, [frames, symbols] each.
            weight: factor of the language model's log10 probabilities.
            word_score: added for each frame with the word separator.
        """
        from flashlight.lib.text.decoder import (
            CriterionType,
            LexiconFreeDecoder,
            LexiconFreeDecoderOptions,
        )

        options = LexiconFreeDecoderOptions(
            beam_size=self._beam,
            beam_size_token=len(self._vocabulary),
            beam_threshold=THRESHOLD,
            lm_weight=weight,
            sil_score=word_score,
            log_add=False,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconFreeDecoder(options, self._model, self._separator, self._blank, [])
        for values in utterances:
            if not len(values):
                yield ""
                continue
            frames = np.array(values.float().numpy(), order="C")  # a copy: the next line writes
            frames[:, self._impossible] = _IMPOSSIBLE
            best = decoder.decode(frames.ctypes.data, *frames.shape)[0]
            # Symbols of all frames, between one more at the start and one at the end.
            yield plain_text(decode(best.tokens[1:-1], self._vocabulary, self._blank))


Search = WordSearch | CharacterSearch


def _load(model: LanguageModel, dictionary: Any) -> Any:
    from flashlight.lib.text.decoder.kenlm import KenLM

    try:
        with quiet():
            return KenLM(str(model.path), dictionary)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{model.path}: KenLM cannot load it ({reason})") from error
