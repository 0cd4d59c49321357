"""Beam search against brute force over all paths of symbols, scored by KenLM's own module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.ctc.beam_search import CharacterSearch, WordSearch
from s3prl_compress.tasks.ctc.language_model import LanguageModel, open_language_model
from s3prl_compress.tasks.ctc.lexicon import read_lexicon, spell

kenlm = pytest.importorskip("kenlm", reason="the extra lm is not installed")

WORDS = """\\data\\
ngram 1=7
ngram 2=6
ngram 3=2

\\1-grams:
-1.8\t<unk>
-99\t<s>\t-0.4
-0.7\t</s>
-0.6\tA\t-0.3
-0.9\tAA\t-0.2
-0.8\tBA\t-0.5
-1.1\tB\t-0.1

\\2-grams:
-0.3\t<s> A\t-0.2
-0.5\tA BA\t-0.1
-0.2\tBA </s>
-0.9\tAA A
-0.4\t<s> AA\t-0.3
-0.6\tB B

\\3-grams:
-0.1\t<s> A BA
-0.2\t<s> AA A

\\end\\
"""
CHARACTERS = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.4
-0.9\t</s>
-0.4\tA\t-0.3
-0.7\tB\t-0.2
-0.6\t|\t-0.1

\\2-grams:
-0.2\t<s> A
-0.8\tA A
-0.3\tA |
-0.2\t| B
-0.5\tB </s>

\\end\\
"""


def write(folder: Path, text: str) -> LanguageModel:
    path = folder / "lm.arpa"
    path.write_text(text)
    return open_language_model(path)


Score = Callable[[tuple[int, ...]], tuple[float, str] | None]


def best_texts(utterances: Sequence[Tensor], score: Score) -> list[str]:
    """Return the text of the best of all paths through each utterance.

    `score` returns what a path adds to its symbols' log-probabilities, and its text; None if it is
    not allowed.
    """
    frames, symbols = utterances[0].shape
    scored = [(path, score(path)) for path in itertools.product(range(symbols), repeat=frames)]
    allowed = [(path, *found) for path, found in scored if found is not None]
    paths = torch.tensor([path for path, _, _ in allowed])
    added = torch.tensor([value for _, value, _ in allowed])
    totals = [values[torch.arange(frames), paths].sum(dim=1) + added for values in utterances]
    return [allowed[int(total.argmax())][2] for total in totals]


def merged(path: tuple[int, ...], blank: int) -> list[int]:
    return [number for number, _ in itertools.groupby(path) if number != blank]


def random_frames(vocabulary: Sequence[str], seed: int, frames: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(frames, len(vocabulary), generator=generator)).log_softmax(dim=-1)


@pytest.mark.parametrize(("weight", "word_score"), [(0.0, 0.0), (1.0, 0.5), (2.5, -1.0)])
@pytest.mark.parametrize(
    ("vocabulary", "blank"), [(("-", "|", "A", "B"), 0), (("A", "|", "B", "-"), 3)]
)
def test_words_equal_brute_force(
    tmp_path: Path, vocabulary: tuple[str, ...], blank: int, weight: float, word_score: float
) -> None:
    model, oracle = write(tmp_path, WORDS), kenlm.Model(str(tmp_path / "lm.arpa"))
    lexicon = ("A", "AA", "BA", "B", "AB")  # AB is unknown to the language model
    spelled = spell([(word, ()) for word in lexicon], vocabulary, blank)
    search = WordSearch(model, spelled, vocabulary, blank, beam=5000)
    assert search.unknown_words == 1

    @cache
    def language(text: str) -> float:
        return sum(value for value, _, _ in oracle.full_scores(text))

    def score(path: tuple[int, ...]) -> tuple[float, str] | None:
        text = "".join(vocabulary[number] for number in merged(path, blank))
        words = [word for word in text.split("|") if word]
        if not set(words) <= set(lexicon):
            return None
        return weight * language(" ".join(words)) + word_score * len(words), " ".join(words)

    utterances = [random_frames(vocabulary, seed) for seed in range(8)]
    expected = best_texts(utterances, score)
    assert list(search.texts(utterances, weight, word_score)) == expected
    assert any(" " in text for text in expected)


@pytest.mark.parametrize(("weight", "separator_score"), [(0.0, 0.0), (1.0, 0.5), (2.5, -0.5)])
@pytest.mark.parametrize(
    ("vocabulary", "blank"), [(("-", "|", "A", "B"), 0), (("A", "|", "<unk>", "B", "-"), 4)]
)
def test_characters_equal_brute_force(
    tmp_path: Path, vocabulary: tuple[str, ...], blank: int, weight: float, separator_score: float
) -> None:
    model, oracle = write(tmp_path, CHARACTERS), kenlm.Model(str(tmp_path / "lm.arpa"))
    search = CharacterSearch(model, vocabulary, blank, beam=5000)

    @cache
    def language(text: str) -> float:
        return sum(value for value, _, _ in oracle.full_scores(text))

    def score(path: tuple[int, ...]) -> tuple[float, str] | None:
        symbols = [vocabulary[number] for number in merged(path, blank)]
        if "<unk>" in symbols:
            return None
        # A separator from the first frame on is silence before the text, not a symbol of it.
        said = symbols[1:] if vocabulary[path[0]] == "|" else symbols
        separators = sum(vocabulary[number] == "|" for number in path)
        text = " ".join("".join(symbols).replace("|", " ").split())
        return weight * language(" ".join(said)) + separator_score * separators, text

    frames = 6 if len(vocabulary) == 4 else 5
    utterances = [random_frames(vocabulary, seed, frames) for seed in range(8)]
    before = [values.clone() for values in utterances]
    expected = best_texts(utterances, score)
    assert list(search.texts(utterances, weight, separator_score)) == expected
    assert all(map(torch.equal, utterances, before))


def spoken(text: str, vocabulary: Sequence[str], blank: int) -> Tensor:
    """Return frames that say a text with certainty, two frames per symbol, blanks between them."""
    path = [part for letter in text for part in [vocabulary.index(letter)] * 2 + [blank]]
    values = torch.full((len(path), len(vocabulary)), -12.0)
    values[torch.arange(len(path)), torch.tensor(path)] = 0.0
    return values.log_softmax(dim=-1)


def test_double_letters_and_words_at_the_end_survive(tmp_path: Path) -> None:
    vocabulary = ("A", "|", "B", "-")
    model = write(tmp_path, WORDS)
    spelled = spell([(word, ()) for word in model.words or ()], vocabulary, 3)
    search = WordSearch(model, spelled, vocabulary, 3, beam=20)
    utterances = [spoken(text, vocabulary, 3) for text in ("AA|BA", "A|A", "BA|AA|", "|B")]
    assert list(search.texts([*utterances, torch.empty(0, 4)], 1.0, 0.0)) == [
        "AA BA",
        "A A",
        "BA AA",
        "B",
        "",
    ]
    characters = CharacterSearch(write(tmp_path, CHARACTERS), vocabulary, 3, beam=20)
    assert list(characters.texts([*utterances[:2], torch.empty(0, 4)], 1.0, 0.0)) == [
        "AA BA",
        "A A",
        "",
    ]


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_case_is_folded(tmp_path: Path, case: Callable[[str], str]) -> None:
    words = write(tmp_path, WORDS.replace("A", "a").replace("B", "b"))
    vocabulary = ["-", "|", case("a"), case("b")]
    spelled = spell([(word, ()) for word in words.words or ()], vocabulary, 0)
    search = WordSearch(words, spelled, vocabulary, 0, beam=20)
    frames = [spoken(case("aa|ba"), vocabulary, 0)]
    assert list(search.texts(frames, 1.0, 0.0)) == ["AA BA"]
    listed = spell([("AA", ()), ("Ba", ())], vocabulary, 0)
    assert list(WordSearch(words, listed, vocabulary, 0, 20).texts(frames, 1.0, 0.0)) == ["AA BA"]
    (tmp_path / "characters").mkdir()
    model = write(tmp_path / "characters", CHARACTERS.replace("A", "a").replace("B", "b"))
    assert list(CharacterSearch(model, vocabulary, 0, 20).texts(frames, 1.0, 0.0)) == ["AA BA"]


def test_a_lexicon_file_may_spell_its_words(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("BA\tB A |\nBA A B |\nTWO\nX1\n\nAND & A\n", encoding="utf-8-sig")
    lexicon = read_lexicon(path)
    vocabulary = ("<pad>", "<unk>", "|", "a", "b", "t", "w", "o")
    assert spell(lexicon.entries, vocabulary, 0) == {
        "BA": {(4, 3, 2), (3, 4, 2)},
        "TWO": {(5, 6, 7, 2)},
    }
    path.write_text("\n")
    with pytest.raises(InputError, match="lexicon without a word"):
        read_lexicon(path)
    with pytest.raises(InputError, match="cannot be read as a lexicon"):
        read_lexicon(tmp_path / "none")


def test_what_does_not_match_is_said(tmp_path: Path) -> None:
    words, vocabulary = write(tmp_path, WORDS), ("-", "|", "A", "B")
    with pytest.raises(InputError, match=r"knows none of the 1 words .* \(BB\)"):
        WordSearch(words, spell([("BB", ())], vocabulary, 0), vocabulary, 0, 10)
    with pytest.raises(InputError, match="not a language model of characters"):
        CharacterSearch(words, vocabulary, 0, 10)
    with pytest.raises(InputError, match="has no symbol between words"):
        spell([("A", ())], ("-", "A"), 0)
