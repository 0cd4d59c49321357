from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder.ctc_text import (
    character_vocabulary,
    check_vocabulary,
    decode,
    encode,
    plain_text,
)

WORDS = st.lists(st.text("abcxyz'", min_size=1, max_size=4), min_size=1, max_size=4)


@given(WORDS, st.data())
def test_texts_come_back_from_any_path_of_theirs(words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    vocabulary = character_vocabulary([text, "z"])
    path, before = [], None
    for number in encode(text, vocabulary):
        blanks = data.draw(st.integers(1 if number == before else 0, 2))
        path += [0] * blanks + [number] * data.draw(st.integers(1, 3))
        before = number
    assert decode(path, vocabulary, blank=0) == text


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Wav2Vec2CTCTokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.json"
    symbols = ("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "'")
    path.write_text(json.dumps({symbol: number for number, symbol in enumerate(symbols)}))
    return Wav2Vec2CTCTokenizer(str(path))


@given(st.lists(st.sampled_from([0, 4, 5, 6, 7]), max_size=12))
def test_decoding_is_transformers(tokenizer: Wav2Vec2CTCTokenizer, path: list[int]) -> None:
    vocabulary = tuple(tokenizer.convert_ids_to_tokens(range(8)))
    expected = " ".join(tokenizer.decode(path).split())  # theirs leaves outer spaces
    assert decode(path, vocabulary, blank=0) == expected


def test_encoding_is_transformers(tokenizer: Wav2Vec2CTCTokenizer) -> None:
    vocabulary = tuple(tokenizer.convert_ids_to_tokens(range(8)))
    for text in ("TEE TE'T", "T", "TÄE"):
        assert encode(text, vocabulary) == tokenizer(text).input_ids
    assert encode("tee", vocabulary) == encode("TEE", vocabulary)


def test_a_character_without_symbol_is_named() -> None:
    with pytest.raises(InputError, match="no symbol for 'é'"):
        encode("café", character_vocabulary(["cafe"]))


@pytest.mark.parametrize(
    "vocabulary",
    [
        ("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'"),
        ("-", " ", *"ABCDEFGHILOT"),  # half of the characters are enough
        ("<pad>", "|", "TH", "E", "A", "BO", "GI", "LD"),
    ],
)
def test_a_vocabulary_that_can_write_most_of_the_text(vocabulary: tuple[str, ...]) -> None:
    check_vocabulary(["THE BOLD A", "big café"], vocabulary, "speech")


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (
            ("<pad>", "<unk>", "|", *"абвгд"),
            "speech: the vocabulary of the CTC head does not match the transcripts: it has no "
            "symbol for 100% of their characters, such as A, B, D, C, E",
        ),
        (("<pad>", "<abcde>", "|", "x"), "no symbol for 100%"),
        (("<pad>", *"abcde"), "it has no symbol between words"),
    ],
)
def test_a_vocabulary_of_another_text(vocabulary: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as raised:
        check_vocabulary(["bad cab", "bed a"], vocabulary, "speech")
    assert message in str(raised.value)
    assert "--new_head true" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_vocabulary_starts_with_blank_and_space() -> None:
    assert character_vocabulary(["b a", "c b|"]) == ("<pad>", "|", "a", "b", "c")
    assert plain_text("  a  b\tc ") == "A B C"
