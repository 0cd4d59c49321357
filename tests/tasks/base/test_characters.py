from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from s3prl_compress.s3prl_bridge.compat import apply_patches
from s3prl_compress.tasks.base.characters import (
    BLANK,
    CHARACTERS,
    SYMBOLS,
    decode,
    dictionary_file,
    encode,
    plain_transcript,
    unsupported_characters,
)

WORDS = st.lists(st.text(alphabet=CHARACTERS[1:], min_size=1, max_size=6), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def dictionary() -> Any:
    apply_patches()
    s3prl = importlib.import_module("s3prl.downstream.asr.dictionary")
    loaded = s3prl.Dictionary()
    loaded.add_from_file(io.StringIO(dictionary_file()))
    return loaded


@pytest.mark.s3prl
def test_symbols_are_those_of_s3prl_s_dictionary(dictionary: Any) -> None:
    assert tuple(dictionary.symbols) == SYMBOLS
    assert dictionary.bos() == BLANK
    assert len(SYMBOLS) == 32


@pytest.mark.s3prl
@given(words=WORDS)
def test_transcripts_are_encoded_as_by_s3prl(dictionary: Any, words: list[str]) -> None:
    line = " ".join("|".join(words)) + " |"  # `process_trans` of s3prl's SequenceDataset
    expected = dictionary.encode_line(line, line_tokenizer=str.split)
    assert encode(" ".join(words)) == expected.tolist()


@pytest.mark.s3prl
@pytest.mark.parametrize("symbols", [32, 6])
def test_random_logits_are_decoded_as_by_s3prl(dictionary: Any, symbols: int) -> None:
    expert = importlib.import_module("s3prl.downstream.asr.expert")
    decoder = expert.DownstreamExpert.__new__(expert.DownstreamExpert)
    torch.nn.Module.__init__(decoder)
    decoder.dictionary, decoder.blank, decoder.decoder = dictionary, BLANK, None
    generator = torch.Generator().manual_seed(symbols)
    logits = torch.randn(8, 90, symbols, generator=generator)
    counts = torch.randint(1, 91, (8,), generator=generator)
    expected = [" ".join(words) for words in decoder._decode(logits, counts)[1]]
    best = logits.argmax(-1).tolist()
    given = [decode(row[:count]) for row, count in zip(best, counts.tolist(), strict=True)]
    assert given == expected
    assert any("<unk>" in text for text in given)


@given(words=WORDS)
def test_what_was_encoded_is_decoded(words: list[str]) -> None:
    frames = [frame for number in encode(" ".join(words)) for frame in (number, number, BLANK)]
    assert decode(frames) == " ".join(words)


def test_transcripts_are_upper_case_with_single_spaces() -> None:
    assert plain_transcript("  don't\tgo  ") == "DON'T GO"
    assert unsupported_characters("don't go") == ""
    assert unsupported_characters("A-B, é 7|") == ",-7|É"
    with pytest.raises(KeyError):
        encode("7")
