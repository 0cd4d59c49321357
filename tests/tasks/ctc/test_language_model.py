"""Files of language models: what is read from them, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.ctc.language_model import open_language_model

from .test_beam_search import CHARACTERS, WORDS

pytest.importorskip("kenlm", reason="the extra lm is not installed")


def test_an_arpa_file_is_read_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(WORDS)
    (tmp_path / "lm.arpa.gz").write_bytes(gzip.compress(WORDS.encode()))
    plain = open_language_model(tmp_path / "lm.arpa")
    packed = open_language_model(tmp_path / "lm.arpa.gz")
    assert (plain.order, packed.order) == (3, 3)
    assert plain.words == packed.words == ("A", "AA", "BA", "B")
    assert plain.sha256 != packed.sha256
    assert plain.knows("BA")
    assert not plain.knows("ba")
    assert not plain.of_characters
    (tmp_path / "lm.arpa").write_text(CHARACTERS)
    assert open_language_model(tmp_path / "lm.arpa").of_characters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither an ARPA file"),
        (b"hello\n", "neither an ARPA file"),
        (b"\xff\xfe\x00", "cannot be read as a language model"),
        (WORDS.replace("ngram 1=7", "ngram 1=8").encode(), "7 unigrams, where its head says 8"),
        (WORDS.split("\\1-grams")[0].encode(), "0 unigrams, where its head says 7"),
        # Without a time in it: the name of the test must be the same in every process.
        (gzip.compress(WORDS.encode(), mtime=0)[:40], "cannot be read as a language model"),
        (
            b"mmap lm http://kheafield.com/code format version 5\n\0damaged",
            "a KenLM binary that cannot be loaded",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "lm").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_language_model(tmp_path / "lm")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read as a language model \(No such file"):
        open_language_model(tmp_path / "lm")
    with pytest.raises(InputError, match="not a file"):
        open_language_model(tmp_path)
