from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.pr.corpus import PhonemeCorpus, open_phonemes
from s3prl_compress.tasks.pr.lexicon import LEXICONS
from s3prl_compress.tasks.pr.phonemes import PHONEMES
from s3prl_compress.tasks.pr.prepare import demo_phonemes, prepare_phonemes

from ...support.small_corpora import write_transcripts
from ...support.tables import write_table, write_tone

WORDS = ("IT'S ONE", "TWO ONE", "TWO")
FIRST = "IT'S\tIH1 T S\nONE\tW AH1 N\nONE\tHH W AH1 N\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two speakers, whose names are no folder names, in all splits."""
    folder = tmp_path / "my corpus"
    random = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 4), ("valid", 2), ("test", 2)):
        for number in range(count):
            file = f"{split}{number}.wav"
            write_tone(folder / file, number, random)
            label = ("ɔː  t", "t ə t", "s", "ə")[number]
            speaker = ("Ann É", "Bo")[number % 2]
            rows.append({"file": file, "phonemes": label, "speaker": speaker, "split": split})
    return write_table(folder, rows)


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    """LibriSpeech's layout with both lexicons in it, each with words that the other lacks."""
    root = write_transcripts(tmp_path / "LibriSpeech", WORDS, train=5)
    (root / "corpus.json").unlink()
    (root / LEXICONS[0]).write_text(FIRST)
    (root / LEXICONS[1]).write_text("TWO\tT UW1\n")
    return root


def _labels(corpus: PhonemeCorpus, split: str = "train") -> list[str]:
    return [item.label for item in corpus.items(split)]  # type: ignore[arg-type]


def test_a_table_becomes_recordings_and_lists_of_phonemes(table: Path, tmp_path: Path) -> None:
    corpus = open_phonemes(prepare_phonemes(table, tmp_path / "corpus"))
    corpus.check()
    assert (corpus.variant, corpus.name) == ("phonemes", "my corpus")
    assert corpus.classes == ("s", "t", "ɔː", "ə")
    assert _labels(corpus) == ["ɔː t", "s", "t ə t", "ə"]
    assert [item.speaker for item in corpus.items("train")] == ["Ann_"] * 2 + ["Bo"] * 2
    assert [len(corpus.items(split)) for split in ("train", "dev", "test")] == [4, 2, 2]
    again = prepare_phonemes(table, tmp_path / "corpus")
    assert open_phonemes(again).fingerprint() == corpus.fingerprint()


def test_other_phonemes_of_the_same_recordings_are_another_corpus(
    table: Path, tmp_path: Path
) -> None:
    first = open_phonemes(prepare_phonemes(table, tmp_path / "first"))
    table.write_text(table.read_text(encoding="utf-8").replace("t ə t", "t ɔː t"), encoding="utf-8")
    second = open_phonemes(prepare_phonemes(table, tmp_path / "second"))
    assert first.classes == second.classes
    assert first.fingerprint() != second.fingerprint()
    with pytest.raises(InputError, match="prepared from another table"):
        prepare_phonemes(table, tmp_path / "first")


def test_symbols_of_s3prl_are_no_phonemes(table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text(encoding="utf-8").replace("t ə t", "t <eos>"), "utf-8")
    with pytest.raises(InputError, match=r"symbol of s3prl's own: 3 \(<eos> of train1\.wav"):
        prepare_phonemes(table, tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize("place", ["root", "parent"])
def test_librispeech_gets_superbs_phonemes(librispeech: Path, tmp_path: Path, place: str) -> None:
    source = librispeech
    if place == "parent":  # a LibriSpeech that cannot be written to
        source = tmp_path
        for name in LEXICONS:
            (librispeech / name).rename(source / name)
    corpus = open_phonemes(prepare_phonemes(source, tmp_path / "corpus"))
    corpus.check()
    assert (corpus.variant, corpus.classes) == ("librispeech", PHONEMES)
    assert corpus.name == "LibriSpeech train-clean-100"
    assert _labels(corpus) == [
        "IH1 T S W AH1 N", "T UW1 W AH1 N", "T UW1", "IH1 T S W AH1 N", "T UW1 W AH1 N",
    ]  # fmt: skip
    assert {item.speaker for item in corpus.items("test")} == {"7"}
    assert (tmp_path / "corpus" / "train-clean-100").is_symlink()
    assert prepare_phonemes(source, tmp_path / "corpus") == tmp_path / "corpus"


def test_a_missing_lexicon_is_one_line_that_says_where_to_get_it(
    librispeech: Path, tmp_path: Path
) -> None:
    (librispeech / LEXICONS[1]).unlink()
    with pytest.raises(InputError, match=rf"no {LEXICONS[1]} in it.*huggingface\.co") as caught:
        prepare_phonemes(librispeech, tmp_path / "corpus")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "corpus").exists()


def test_words_and_phonemes_outside_of_the_lexicon_are_counted(
    librispeech: Path, tmp_path: Path
) -> None:
    (librispeech / LEXICONS[1]).write_text("TOO\tT UW1\n")
    (librispeech / LEXICONS[0]).write_text(FIRST.replace("AH1", "UNH"))
    with pytest.raises(InputError) as caught:
        prepare_phonemes(librispeech, tmp_path / "corpus")
    message = str(caught.value)
    assert "word that the lexicons lack: 7 (TWO in 7-1-0001, TWO in 7-1-0002, " in message
    assert "word with phonemes that are not SUPERB's: 8 (ONE, " in message
    assert not (tmp_path / "corpus").exists()


def test_a_folder_without_librispeech_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the folder of LibriSpeech"):
        prepare_phonemes(tmp_path, tmp_path / "corpus")


def test_the_generated_demo_is_said_to_be_generated(tmp_path: Path) -> None:
    corpus = open_phonemes(demo_phonemes(tmp_path / "demo"))
    corpus.check()
    assert corpus.generated
    assert "generated" in corpus.name
    assert "espeak-ng" in corpus.name
    assert len(corpus.classes) == 47
    for split in ("train", "dev", "test"):
        assert {phoneme for label in _labels(corpus, split) for phoneme in label.split()} == set(
            corpus.classes
        )


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            lambda root: (root / "phonemes" / "dev-clean.txt").unlink(),
            "missing line of phonemes: 2",
        ),
        (
            lambda root: (root / "phonemes" / "test-clean.txt").write_text("Bo-0-0000 zz\nno s\n"),
            "phoneme that corpus.json does not list: 1 .test-clean: Bo-0-0000 has zz.",
        ),
        (
            lambda root: (root / "phonemes" / "test-clean.txt").write_text("no s\n"),
            "line of phonemes without a recording: 1",
        ),
        (
            lambda root: (root / "phonemes" / "test-clean.txt").write_text("Bo-0-0000\n"),
            "empty line of phonemes: 1",
        ),
    ],
)
def test_faults_of_a_corpus_are_found(
    change: object, fault: str, table: Path, tmp_path: Path
) -> None:
    root = prepare_phonemes(table, tmp_path / "corpus")
    assert callable(change)
    change(root)
    with pytest.raises(InputError, match=fault):
        open_phonemes(root).check()


def test_a_folder_that_was_not_prepared_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no corpus of phonemes .*`s3prl-compress prepare pr`"):
        open_phonemes(tmp_path)
    other = write_transcripts(tmp_path / "asr", WORDS, train=2)
    with pytest.raises(InputError, match="a corpus for the task asr, not for pr"):
        open_phonemes(other)
