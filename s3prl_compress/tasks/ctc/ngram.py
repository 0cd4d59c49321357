"""n-gram language models with interpolated modified Kneser-Ney smoothing, written as ARPA files.

For text of up to some ten million words, such as the transcripts of a corpus: all n-grams are in
memory. For more, KenLM's `lmplz` makes the same models.

Reference:
    Chen and Goodman: An empirical study of smoothing techniques for language modeling, Computer
    Speech and Language 13 (1999), pages 359 to 394.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from ...common.errors import InputError
from ...common.files import file_atomically
from ...encoder.ctc_text import SPACE, plain_text

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
_NEVER = -99.0
"""Customary log10 probability of the start of a sentence, which is never predicted."""
_FALLBACK = (0.5, 1.0, 1.5)
"""KenLM's discounts for text on which they cannot be estimated (`lmplz --discount_fallback`)."""

NGram = tuple[str, ...]


@dataclass(frozen=True)
class NGramModel:
    """A back-off n-gram model, as ARPA files have it: probabilities include interpolation."""

    probabilities: tuple[dict[NGram, float], ...]
    """Of each order from 1: log10 P(last word | words before it) of all n-grams that were seen."""
    backoffs: tuple[dict[NGram, float], ...]
    """Of each order but the last: log10 of the factor of the next lower order after these words."""
    discounts: tuple[tuple[float, float, float], ...]
    """Of each order: what is taken off counts of 1, of 2, and of 3 or more."""
    fallback: tuple[int, ...]
    """Orders whose counts are too few to estimate discounts, which are KenLM's constants."""

    @property
    def order(self) -> int:
        """The longest n."""
        return len(self.probabilities)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All that is predicted: words, the end of a sentence, and the unknown word."""
        return tuple(word for (word,) in self.probabilities[0] if word != START)

    def log10(self, word: str, history: Sequence[str]) -> float:
        """Return log10 P(word | history); of the history, the last n - 1 words count."""
        if (word,) not in self.probabilities[0]:
            word = UNKNOWN
        context = tuple(history[len(history) - min(len(history), self.order - 1) :])
        total = 0.0
        while (found := self.probabilities[len(context)].get((*context, word))) is None:
            total += self.backoffs[len(context) - 1].get(context, 0.0)
            context = context[1:]
        return total + found

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> tuple[float, float]:
        """Return the perplexity, ends of sentences included, and the share of unknown words.

        Unknown words count with the probability of the unknown word.
        """
        total, predicted, words, unknown = 0.0, 0, 0, 0
        for sentence in sentences:
            history = [START]
            for word in (*sentence, END):
                total += self.log10(word, history)
                known = (word,) in self.probabilities[0]
                history.append(word if known else UNKNOWN)
                predicted += 1
                words += word != END
                unknown += not known
        return 10 ** (-total / predicted), unknown / max(1, words)

    def write(self, path: Path) -> None:
        """Write an ARPA file, completely or not at all."""
        with (
            file_atomically(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield "\\data\\"
        for order, grams in enumerate(self.probabilities, start=1):
            yield f"ngram {order}={len(grams)}"
        for order, grams in enumerate(self.probabilities, start=1):
            yield ""
            yield f"\\{order}-grams:"
            for gram in sorted(grams):
                line = f"{grams[gram]:.7g}\t{' '.join(gram)}"
                if order < self.order:
                    line += f"\t{self.backoffs[order - 1].get(gram, 0.0):.7g}"
                yield line
        yield ""
        yield "\\end\\"


def estimate_ngrams(sentences: Iterable[Sequence[str]], order: int = 4) -> NGramModel:
    """Estimate an n-gram model by interpolated modified Kneser-Ney smoothing.

    - Below the highest order, an n-gram counts the different words before it, unless it starts a
      sentence.
    - Counts of 1, 2, and 3 or more are discounted by estimates from how many n-grams occur one to
      four times.
    - The discounted mass of a history is shared out by the next lower order, and that of single
      words evenly over the vocabulary with the unknown word.

    Args:
        sentences: words (or characters) of each sentence.
        order: the longest n.

    Raises:
        InputError: there is no word, or a word is one of the marks of ARPA files.
    """
    if order < 1:
        raise InputError(f"order {order}: must be at least 1")
    counts = _adjusted(_count(sentences, order))
    words = [gram for gram in counts[0] if gram != (START,)]
    if len(words) < 2:
        raise InputError("no word in the text, so there is nothing to estimate")
    probabilities: list[dict[NGram, float]] = []
    backoffs: list[dict[NGram, float]] = []
    discounts, fallback = [], []
    # Of single words: all share the mass of the empty history evenly.
    lower: dict[NGram, float] = dict.fromkeys([*words, (UNKNOWN,)], 1 / (len(words) + 1))
    for length, own in enumerate(counts, start=1):
        taken, estimated = _discounts(own)
        discounts.append(taken)
        if not estimated:
            fallback.append(length)
        totals: Counter[NGram] = Counter()
        removed: defaultdict[NGram, float] = defaultdict(float)
        for gram, count in own.items():
            if gram != (START,):
                totals[gram[:-1]] += count
                removed[gram[:-1]] += taken[min(count, 3) - 1]
        interpolation = {context: removed[context] / totals[context] for context in totals}
        current = {
            gram: (count - taken[min(count, 3) - 1]) / totals[gram[:-1]]
            + interpolation[gram[:-1]] * lower[gram if length == 1 else gram[1:]]
            for gram, count in own.items()
            if gram != (START,)
        }
        if length == 1:
            current[(UNKNOWN,)] = interpolation[()] * lower[(UNKNOWN,)]
        else:
            backoffs.append({context: math.log10(own) for context, own in interpolation.items()})
        lower = current
        probabilities.append({gram: math.log10(value) for gram, value in current.items()})
    probabilities[0][(START,)] = _NEVER
    return NGramModel(tuple(probabilities), tuple(backoffs), tuple(discounts), tuple(fallback))


def _count(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[NGram]]:
    """Return how often the n-grams of each length occur, one start and one end per sentence."""
    counts: list[Counter[NGram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        if marks := {START, END, UNKNOWN}.intersection(sentence):
            raise InputError(
                f"{' '.join(sorted(marks))} in the text: a mark of language models; remove it"
            )
        if not sentence:
            continue
        words = (START, *sentence, END)
        for length, own in enumerate(counts, start=1):
            own.update(words[place : place + length] for place in range(len(words) - length + 1))
    return counts


def _adjusted(counts: list[Counter[NGram]]) -> list[Counter[NGram]]:
    """Return the counts that Kneser-Ney smoothing uses, of each length."""
    adjusted = []
    for own, longer in pairwise(counts):
        before = Counter(gram[1:] for gram in longer)
        adjusted.append(
            Counter(
                {gram: count if gram[0] == START else before[gram] for gram, count in own.items()}
            )
        )
    return [*adjusted, counts[-1]]


def _discounts(counts: Counter[NGram]) -> tuple[tuple[float, float, float], bool]:
    """Return the discounts of counts of 1, 2, and 3 or more, and whether they were estimated.

    D_k = k - (k + 1) Y t_{k+1} / t_k with Y = t_1 / (t_1 + 2 t_2), where t_k is the number of
    n-grams with the count k.
    """
    times = Counter(count for gram, count in counts.items() if gram != (START,))
    if not all(times[count] for count in (1, 2, 3)):
        return _FALLBACK, False
    share = times[1] / (times[1] + 2 * times[2])
    one, two, three = (
        count - (count + 1) * share * times[count + 1] / times[count] for count in (1, 2, 3)
    )
    usable = 0 < one <= 1 and 0 < two <= 2 and 0 < three <= 3
    return ((one, two, three), True) if usable else (_FALLBACK, False)


def sentences_of(texts: Iterable[str], unit: Literal["words", "characters"]) -> list[list[str]]:
    """Return transcripts in upper case as words, or as characters with `|` between words."""
    plain = map(plain_text, texts)
    if unit == "words":
        return [text.split() for text in plain]
    return [list(text.replace(" ", SPACE)) for text in plain]
