"""The generated speech: whole, small, without a split that leaks, and neither trivial nor noise."""

from __future__ import annotations

import csv
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import s3prl_compress.recipes.demo_corpus
import soundfile
import torch
from s3prl_compress.recipes.demo_corpus.generate import PARTS
from s3prl_compress.recipes.demo_corpus.phonemes import phoneme_rows
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDER = Path(s3prl_compress.recipes.demo_corpus.__file__).parent
Row = dict[str, str]


def _table(task: str, name: str = "metadata.csv") -> list[Row]:
    with open(FOLDER / task / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _values_of_splits(rows: list[Row], column: str) -> dict[str, set[str]]:
    values: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        values[row["split"]].add(row[column])
    return values


def _disjoint(values: dict[str, set[str]]) -> bool:
    return sum(map(len, values.values())) == len(set().union(*values.values()))


@pytest.mark.parametrize("task", PARTS)
def test_the_table_is_the_generators_and_the_audio_is_there(task: str) -> None:
    rows = _table(task)
    assert rows == list(PARTS[task].rows())
    files = {path.relative_to(FOLDER / task).as_posix() for path in FOLDER.glob(f"{task}/audio/*")}
    assert files == {row["file"] for row in rows}
    information = soundfile.info(str(FOLDER / task / rows[0]["file"]))
    assert (information.samplerate, information.channels) == (16_000, 1)
    assert (information.format, information.subtype) == ("OGG", "OPUS")


def test_all_parts_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.ogg")) < 8_000_000


def test_speakers_say_other_sentences_in_each_split() -> None:
    rows = _table("sid")
    assert all(row["label"] == row["speaker"] for row in rows)
    assert _disjoint(_values_of_splits(rows, "text"))
    assert len({frozenset(names) for names in _values_of_splits(rows, "label").values()}) == 1
    assert Counter(row["split"] for row in rows)["test"] >= 100


def test_emotions_are_acted_by_two_voices_a_session() -> None:
    rows = _table("er")
    voices = _values_of_splits(rows, "speaker")
    assert sorted(voices) == [f"session{number}" for number in range(1, 6)]
    assert {len(names) for names in voices.values()} == {2}
    assert _disjoint(voices)
    assert len(set(Counter((row["split"], row["label"]) for row in rows).values())) == 1
    assert {row["label"] for row in rows} == {"ang", "hap", "neu", "sad"}


def test_transcripts_share_neither_sentences_nor_voices() -> None:
    rows = _table("asr")
    for column in ("text", "speaker"):
        assert _disjoint(_values_of_splits(rows, column))
    letters = set("".join(row["text"] for row in rows))
    assert letters == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
    assert Counter(row["split"] for row in rows)["test"] >= 100


def test_phonemes_are_of_the_same_clips_as_the_transcripts() -> None:
    rows, sentences = _table("asr", "phonemes.csv"), _table("asr")
    for column in ("file", "speaker", "split"):
        assert [row[column] for row in rows] == [row[column] for row in sentences]
    by_text = {row["text"]: label["phonemes"] for row, label in zip(sentences, rows, strict=True)}
    assert len(set(by_text.values())) == len(by_text)
    inventories = [
        {phoneme for row in rows if row["split"] == split for phoneme in row["phonemes"].split()}
        for split in ("train", "valid", "test")
    ]
    assert inventories[0] == inventories[1] == inventories[2]
    assert not any(mark in phoneme for phoneme in inventories[0] for mark in "ˈˌ_")


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng")
def test_the_table_of_phonemes_is_the_generators() -> None:
    assert _table("asr", "phonemes.csv") == list(phoneme_rows(FOLDER / "asr" / "metadata.csv"))


@pytest.mark.parametrize(("task", "chance"), [("sid", 1 / 20), ("er", 1 / 4)])
def test_a_simple_classifier_learns_something_but_not_everything(task: str, chance: float) -> None:
    rows = _table(task)
    features = np.stack([_mfcc_mean(FOLDER / task / row["file"]) for row in rows])
    labels = np.array([row["label"] for row in rows])
    held_out = "test" if task == "sid" else "session1"
    test = np.array([row["split"] == held_out for row in rows])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(features[~test], labels[~test])
    assert 1.5 * chance < classifier.score(features[test], labels[test]) < 0.95


def _mfcc_mean(path: Path) -> np.ndarray:
    from torchaudio.compliance.kaldi import mfcc

    samples, rate = soundfile.read(str(path), dtype="float32")
    return mfcc(torch.from_numpy(samples)[None], sample_frequency=rate).mean(0).numpy()
