from __future__ import annotations

import csv
import importlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.transcripts import bucket_table, longest_first, open_transcripts
from s3prl_compress.tasks.registry import corpus_figures, open_corpus

from ...support.small_corpora import write_transcripts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_transcripts(tmp_path / "corpus", ("a word", "Don't go"), train=5)


def lists(root: Path, split: str = "train-clean-100") -> Path:
    return root / split / "7" / "1" / "7-1.trans.txt"


def test_a_corpus_has_its_utterances_and_upper_case_transcripts(root: Path) -> None:
    corpus = open_transcripts(root)
    corpus.check()
    items = corpus.items("train")
    assert [item.label for item in items] == ["A WORD", "DON'T GO", "A WORD", "DON'T GO", "A WORD"]
    assert items[1].relative == "train-clean-100/7/1/7-1-0001.flac"
    assert corpus.utterance_name(items[1]) == "7-1-0001"
    assert {item.speaker for item in items} == {"7"}
    assert len(corpus.read(items[1].path)) == corpus.lengths("train")[1] == 8000
    assert corpus_figures(root, "asr")["sizes"] == {"train": 5, "dev": 3, "test": 3}
    assert (corpus.classes, corpus.folds, corpus.variant) == ((), (0,), "transcripts")


def test_librispeech_is_known_by_its_folders(root: Path) -> None:
    (root / "corpus.json").unlink()
    corpus = open_corpus(root, "asr")
    assert (corpus.variant, corpus.generated) == ("librispeech", False)
    root.rename(root.parent / "LibriSpeech")
    with pytest.raises(InputError, match=r"no transcribed corpus.*give .*LibriSpeech$"):
        open_corpus(root.parent, "asr")


def test_transcripts_belong_to_the_fingerprint(root: Path) -> None:
    before = open_corpus(root, "asr").fingerprint()
    lists(root).write_text(lists(root).read_text().replace("a word", "a ward"))
    assert open_corpus(root, "asr").fingerprint() != before


def test_all_faults_are_in_one_line(root: Path) -> None:
    text = lists(root).read_text().splitlines()
    text[1], text[2] = "7-1-0001 naïve, 7", "7-1-0002"
    lists(root).write_text("\n".join([*text[:4], "7-1-0099 LOST"]))
    folder = lists(root, "dev-clean").parent
    (folder / "7-1-0000.flac").write_bytes(b"")
    soundfile.write(folder / "7-1-0001.flac", np.zeros(800), 8000)
    soundfile.write(folder / "7-1-0002.wav", np.zeros(800), 16_000)
    soundfile.write(folder / "7-1.5.wav", np.zeros((800, 2)), 16_000)
    lists(root, "test-clean").rename(lists(root, "test-clean").with_name("other.trans.txt"))
    with pytest.raises(InputError) as caught:
        open_corpus(root, "asr").check()
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "transcript without a recording: 1 (train-clean-100: 7-1-0099)",
        "missing transcript: 5 (train-clean-100/7/1/7-1-0004.flac, dev-clean/7/1/7-1.5.wav, ",
        "other characters than A-Z and ': 1 (train-clean-100: 7-1-0001 has ,7Ï)",
        "empty transcript: 1 (train-clean-100: 7-1-0002)",
        "empty file: 1 (dev-clean/7/1/7-1-0000.flac)",
        "sampling rate other than 16000 Hz: 1 (dev-clean/7/1/7-1-0001.flac has 8000)",
        "more than one channel: 1 (dev-clean/7/1/7-1.5.wav has 2)",
        "name of several recordings: 2 (dev-clean: 7-1-0002)",
        "name with a dot, which s3prl cuts off: 1 (dev-clean/7/1/7-1.5.wav)",
    ):
        assert part in message


def test_a_missing_split_is_a_fault(root: Path) -> None:
    (root / "dev-clean").rename(root / "elsewhere")
    with pytest.raises(InputError, match=r"missing folder: 1 \(dev-clean\)"):
        open_corpus(root, "asr").check()


def test_the_bucket_table_gives_equal_lengths_an_order(root: Path) -> None:
    corpus = open_corpus(root, "asr")
    rows = list(csv.DictReader(io.StringIO(bucket_table(corpus, "train"))))  # type: ignore[arg-type]
    assert [row["file_path"][-5 - 4 : -5] for row in rows] == [
        "0004",
        "0002",
        "0003",
        "0000",
        "0001",
    ]
    lengths = [float(row["length"]) for row in rows]
    assert sorted(set(lengths), reverse=True) == lengths
    assert [int(length) for length in lengths] == [9600, 8800, 8800, 8000, 8000]
    assert longest_first([3, 5, 5, 1]) == [1, 2, 0, 3]


@pytest.mark.s3prl
def test_s3prl_reads_the_same_transcripts(root: Path, tmp_path: Path) -> None:
    dataset = importlib.import_module("s3prl.downstream.asr.dataset")
    corpus = open_transcripts(root)
    (tmp_path / "train-clean-100.csv").write_text(bucket_table(corpus, "train"))
    dictionary = dataset.Dictionary()
    found = dataset.SequenceDataset(
        "train", 2, dictionary, str(root), str(tmp_path), train=["train-clean-100"]
    )
    for item in corpus.items("train"):
        symbols = found.Y[corpus.utterance_name(item)]
        assert dictionary.string(symbols).replace(" ", "") == item.label.replace(" ", "|") + "|"
