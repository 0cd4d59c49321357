"""n-gram models: against lmplz's, as KenLM reads them, and as distributions."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.ctc.language_model import open_language_model
from s3prl_compress.tasks.ctc.ngram import END, START, estimate_ngrams, sentences_of

from ...support.letters import write_letters

kenlm = pytest.importorskip("kenlm", reason="the extra lm is not installed")


def sentences(count: int = 60) -> list[list[str]]:
    """Return sentences of words whose frequencies fall as those of a language do."""
    generator = random.Random(7)
    words = [f"W{number}" for number in range(14)]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    lengths = [generator.randrange(1, 6) for _ in range(count)]
    return [generator.choices(words, weights, k=length) for length in lengths]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_sum_to_one_after_every_history(order: int) -> None:
    model = estimate_ngrams(sentences(), order)
    seen = {gram[:-1] for grams in model.probabilities for gram in grams}
    histories = [*seen, ("W13", "W13", "W13"), (START, "never"), (START, "W9", "W8")]
    for history in histories:
        total = sum(10 ** model.log10(word, history) for word in model.vocabulary)
        assert total == pytest.approx(1.0, abs=1e-9), history
    assert len(histories) > 10 ** (order > 1)


def test_kenlm_reads_the_same_model(tmp_path: Path) -> None:
    model = estimate_ngrams(sentences(), 4)
    model.write(tmp_path / "lm.arpa")
    read = kenlm.Model(str(tmp_path / "lm.arpa"))
    assert read.order == model.order == 4
    for words in (*sentences()[:20], ["W0", "W13", "W13", "W0"], ["never", "W1"], []):
        history = [START]
        for word, (found, _, unknown) in zip(
            (*words, END), read.full_scores(" ".join(words)), strict=True
        ):
            assert found == pytest.approx(model.log10(word, history), abs=1e-5)
            assert unknown == (word == "never")
            history.append(word if word != "never" else "<unk>")
    known = open_language_model(tmp_path / "lm.arpa")
    assert set(known.words or ()) == {word for words in sentences() for word in words}


def read_arpa(
    path: Path,
) -> tuple[list[dict[tuple[str, ...], float]], dict[tuple[str, ...], float]]:
    """Return log10 probabilities by order, and log10 back-off factors."""
    probabilities: list[dict[tuple[str, ...], float]] = []
    factors = {}
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            probabilities.append({})
        cells = line.split("\t")
        if len(cells) > 1:
            gram = tuple(cells[1].split())
            probabilities[-1][gram] = float(cells[0])
            if len(cells) > 2:
                factors[gram] = float(cells[2])
    return probabilities, factors


def test_lmplz_estimates_the_same(tmp_path: Path) -> None:
    """`lmplz.arpa` is KenLM's own estimate of them: `lmplz -o 3 --discount_fallback < TEXT`."""
    model = estimate_ngrams(sentences(), 3)
    assert model.fallback == (1,)
    model.write(tmp_path / "lm.arpa")
    (own, own_factors), (found, factors) = map(
        read_arpa, (tmp_path / "lm.arpa", Path(__file__).parent / "lmplz.arpa")
    )
    assert [set(grams) for grams in own] == [set(grams) for grams in found]
    for mine, its in zip(own, found, strict=True):
        its.pop((START,), None)  # a custom of each program
        assert {gram: mine[gram] for gram in its} == pytest.approx(its, abs=2e-5)
    assert {gram: own_factors[gram] for gram in factors} == pytest.approx(factors, abs=2e-5)


def test_a_case_by_hand() -> None:
    """Two sentences, A B and A: too few for estimates, so discounts are 0.5, 1 and 1.5."""
    model = estimate_ngrams([["A", "B"], ["A"]], 2)
    assert model.fallback == (1, 2)
    # Words before each word: A 1 (the start), B 1 (A), the end 2 (A and B).
    uniform = (0.5 + 0.5 + 1.0) / 4 / 4  # discounted mass, over A, B, the end and the unknown word
    expected = {"A": 0.5 / 4 + uniform, "B": 0.5 / 4 + uniform, END: 1 / 4 + uniform}
    for word, probability in (expected | {"never": uniform}).items():
        assert 10 ** model.log10(word, []) == pytest.approx(probability)
    # After A: B once, the end once.
    after_a = {word: 0.5 / 2 + 0.5 * expected[word] for word in ("B", END)}
    assert 10 ** model.log10("B", ["A"]) == pytest.approx(after_a["B"])
    assert 10 ** model.log10("A", ["A"]) == pytest.approx(0.5 * expected["A"])
    # After the start: A twice.
    start_a = (2 - 1) / 2 + 1 / 2 * expected["A"]
    assert 10 ** model.log10("A", [START]) == pytest.approx(start_a)
    perplexity, unknown = model.perplexity([["A"], ["C"]])
    logs = [start_a, after_a[END], 0.5 * uniform, expected[END]]
    assert perplexity == pytest.approx(math.prod(logs) ** (-1 / 4))
    assert unknown == 0.5


def test_characters_have_a_word_separator() -> None:
    assert sentences_of(["it is", " a  b "], "words") == [["IT", "IS"], ["A", "B"]]
    assert sentences_of(["it is"], "characters") == [["I", "T", "|", "I", "S"]]


def test_what_cannot_be_estimated_is_refused() -> None:
    with pytest.raises(InputError, match="no word in the text"):
        estimate_ngrams([[]], 2)
    with pytest.raises(InputError, match="</s> in the text"):
        estimate_ngrams([["A", "</s>"]], 2)
    with pytest.raises(InputError, match="order 0"):
        estimate_ngrams([["A"]], 0)


def test_the_command_writes_an_arpa_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_letters(tmp_path / "letters")
    for unit, separated in (("words", False), ("characters", True)):
        path = tmp_path / f"{unit}.arpa"
        command = ["ngram", "--data", str(tmp_path / "letters"), "--output", str(path)]
        assert cli.main([*command, "--order", "3", "--unit", unit]) == 0
        printed = capsys.readouterr().out
        assert f"3-gram of {unit} from 16 transcripts" in printed
        assert "dev: perplexity" in printed
        assert ("--lexicon none" in printed) == separated
        assert open_language_model(path).of_characters == separated
    assert cli.main(["ngram", "--data", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "a folder; give the name of a file" in capsys.readouterr().err
