from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.corpus import SPLITS
from s3prl_compress.tasks.registry import open_corpus, prepare_corpus
from s3prl_compress.tasks.sid.corpus import SpeakerCorpus, open_speakers, speaker_ids
from s3prl_compress.tasks.sid.prepare import prepare_speakers

from ...support.tables import CLIPS, SPEAKERS, write_table


@pytest.fixture
def corpus_copy(tiny_speakers: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_speakers, tmp_path / "corpus"))


def read_rows(table: Path) -> list[dict[str, str]]:
    """The table's rows, with paths that hold from anywhere."""
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row | {"file": str(table.parent / row["file"])} for row in rows]


def test_a_prepared_corpus_has_the_table_s_speakers_and_splits(tiny_speakers: Path) -> None:
    corpus = open_corpus(tiny_speakers, "sid")
    corpus.check()
    assert (corpus.variant, corpus.generated, corpus.folds) == ("speakers", False, (0,))
    assert corpus.classes == speaker_ids(7) == tuple(f"id1000{n}" for n in range(1, 8))
    for split, count in zip(SPLITS, CLIPS.values(), strict=True):
        items = corpus.items(split)
        assert Counter(item.label for item in items) == dict.fromkeys(corpus.classes, count)
        assert all(item.speaker == item.label for item in items)
        assert all(re.fullmatch(r"id\d{5}/\w+/\d+\.wav", corpus.utterance_name(i)) for i in items)
    labels = json.loads((tiny_speakers / "corpus.json").read_text("utf-8"))["labels"]
    assert labels == dict(zip(corpus.classes, sorted(SPEAKERS), strict=True))
    assert corpus.record().sizes == {"train": 35, "dev": 14, "test": 21}


def test_clips_keep_their_samples(speaker_table: Path, tiny_speakers: Path) -> None:
    labels = json.loads((tiny_speakers / "corpus.json").read_text("utf-8"))["labels"]
    identity = {label: name for name, label in labels.items()}["Cy"]
    for take in range(3):
        source = speaker_table.parent / f"audio/Cy-test-{take}.wav"
        target = tiny_speakers / f"voxceleb1/dev/wav/{identity}/test/{take + 1:05}.wav"
        expected, given = (soundfile.read(path, dtype="int16")[0] for path in (source, target))
        assert np.array_equal(expected, given)


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("name", ["iden_split.txt", "veri_test_class.txt"])
def test_voxceleb1_as_downloaded_needs_no_card(
    tiny_speakers: Path, tmp_path: Path, nested: bool, name: str
) -> None:
    audio = tmp_path / "voxceleb1" if nested else tmp_path
    for number, part in ((10001, "test"), (10002, "dev")):
        for identity in speaker_ids(7)[number - 10001 :: 2]:
            source = tiny_speakers / "voxceleb1" / "dev" / "wav" / identity
            shutil.copytree(source, audio / part / "wav" / identity)
    shutil.copy(tiny_speakers / "iden_split.txt", tmp_path / name)
    corpus, prepared = open_speakers(tmp_path), open_speakers(tiny_speakers)
    corpus.check()
    assert corpus.variant == "speakers"  # not 1251 of them
    assert corpus.classes == prepared.classes
    for split in SPLITS:
        names = [corpus.utterance_name(item) for item in corpus.items(split)]
        assert names == [prepared.utterance_name(item) for item in prepared.items(split)]
    assert {path.parts[-5] for path in corpus.used_files() if path.suffix == ".wav"} == {
        "test",
        "dev",
    }


def test_1251_speakers_are_voxceleb1(tmp_path: Path) -> None:
    lines = [f"1 {name}/video/00001.wav\n" for name in speaker_ids(1251)]
    (tmp_path / "iden_split.txt").write_text("".join(lines), encoding="ascii")
    corpus = open_speakers(tmp_path)
    assert (corpus.variant, corpus.name, len(corpus.classes)) == ("voxceleb1", "VoxCeleb1", 1251)
    with pytest.raises(
        InputError, match=r"split without a clip: 2 \(dev, test\); missing file: 1251"
    ):
        corpus.check()


def test_all_faults_are_in_one_line(corpus_copy: Path) -> None:
    path = corpus_copy / "iden_split.txt"
    lines = path.read_text("utf-8").splitlines()
    gone = [line for line in lines if "id10003/train" not in line]
    gone += [gone[0], "4 id10001/train/00001.wav", "", "1 id10009/train/00001.wav"]
    path.write_text("\n".join(gone), encoding="utf-8")
    audio = corpus_copy / "voxceleb1" / "dev" / "wav"
    (audio / "id10001" / "train" / "00002.wav").unlink()
    (audio / "id10001" / "train" / "00003.wav").write_bytes(b"noise")
    soundfile.write(audio / "id10002" / "train" / "00003.wav", np.zeros(100), 8000)
    with pytest.raises(InputError) as caught:
        open_corpus(corpus_copy, "sid").check()
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "line that is no `1|2|3 idXXXXX/<video>/<n>.wav`: 2 (line ",
        "file listed twice: 1 (id1000",
        "speaker that does not belong: 1 (id10009 in train)",
        "speaker without a clip: 1 (id10003 in train)",
        "missing file: 2 (id10001/train/00002.wav, id10009/train/00001.wav)",
        "unreadable file: 1 (voxceleb1/dev/wav/id10001/train/00003.wav)",
        "sampling rate other than 16000 Hz: 1 (",
    ):
        assert part in message, part
    with pytest.raises(InputError, match="correct the list"):
        open_corpus(corpus_copy, "sid").items("train")


def test_ids_with_a_gap_are_a_fault_without_a_card(corpus_copy: Path) -> None:
    (corpus_copy / "corpus.json").unlink()
    path = corpus_copy / "iden_split.txt"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "id10002" not in line), encoding="utf-8")
    with pytest.raises(InputError, match="speakers that are not id10001 and on without a gap: 1"):
        open_speakers(corpus_copy).check()


def test_a_folder_of_something_else_is_refused(tmp_path: Path, tiny_emotions: Path) -> None:
    with pytest.raises(InputError, match="no speaker corpus"):
        open_corpus(tmp_path, "sid")
    with pytest.raises(InputError, match="a corpus for the task er, not for sid"):
        open_corpus(tiny_emotions, "sid")


def test_the_list_and_the_recordings_are_in_the_fingerprint(corpus_copy: Path) -> None:
    def fingerprint() -> str:
        return open_speakers(corpus_copy).fingerprint()

    original = fingerprint()
    path = corpus_copy / "iden_split.txt"
    text = path.read_text("utf-8")
    path.write_text(text.replace("1 id10001/train/00001", "2 id10001/train/00001"), "utf-8")
    assert fingerprint() != original
    path.write_text(text, encoding="utf-8")
    assert fingerprint() == original
    clip = open_speakers(corpus_copy).items("test")[0].path
    soundfile.write(clip, np.zeros(2000), 16_000)
    assert fingerprint() != original


def test_a_second_call_leaves_the_corpus_alone(speaker_table: Path, tiny_speakers: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_speakers.rglob("*")}
    assert prepare_speakers(speaker_table, tiny_speakers) == tiny_speakers
    assert {path: path.stat().st_mtime_ns for path in tiny_speakers.rglob("*")} == before


def test_faults_of_a_table_are_listed_and_nothing_is_written(
    speaker_table: Path, tmp_path: Path
) -> None:
    rows = read_rows(speaker_table)
    rows = [row for row in rows if (row["label"], row["split"]) != ("Dee", "train")]
    rows = [row for row in rows if row["split"] != "valid"]
    rows[0]["speaker"] = "Someone else"
    rows[1]["speaker"] = ""  # the label says who it is
    rows[2]["file"] = "absent.wav"
    with pytest.raises(InputError) as caught:
        prepare_speakers(write_table(tmp_path, rows), tmp_path / "out")
    message = str(caught.value)
    for part in (
        "label that is not the speaker: 1 (",
        "speaker without a clip: 1 (Dee in train)",
        "split without a clip: 1 (dev)",
        "missing file: 1 (absent.wav)",
    ):
        assert part in message, part
    assert "\n" not in message
    assert "empty speaker" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"train": ("Ann",), "valid": ("Ann",), "test": ("Ann",)}, "Ann in train, Ann in test"),
        ({"train": ("Ann", "Cy"), "valid": ("Ann",), "test": ("Cy",)}, "Cy in test"),
    ],
)
def test_one_class_is_nothing_to_tell_apart(
    speaker_table: Path, tmp_path: Path, kept: dict[str, tuple[str, ...]], message: str
) -> None:
    folder = tmp_path / "speech"
    folder.mkdir()
    (folder / "audio").symlink_to(speaker_table.parent / "audio")
    rows = [row for row in read_rows(speaker_table) if row["label"] in kept[row["split"]]]
    with pytest.raises(InputError, match=f"one class only, where a score needs two: .*{message}"):
        prepare_speakers(write_table(folder, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_class_in_a_list_is_refused(corpus_copy: Path) -> None:
    path = corpus_copy / "iden_split.txt"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line[0] != "3" or "id10002" in line]
    path.write_text("".join(kept), encoding="utf-8")
    with pytest.raises(InputError, match=r"one class only.*: 1 .id10002 in test"):
        open_corpus(corpus_copy, "sid").check()


def test_the_demo_is_complete_and_says_that_it_is_generated(tmp_path: Path) -> None:
    corpus = open_corpus(prepare_corpus("sid", "demo", tmp_path / "demo"), "sid")
    corpus.check()
    assert corpus.generated
    assert len(corpus.classes) == 20
    assert corpus.record().sizes == {"train": 160, "dev": 40, "test": 120}


@pytest.mark.s3prl
def test_lists_labels_and_waves_are_those_of_s3prl(
    tiny_speakers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = s3prl_dataset(monkeypatch, tmp_path)
    corpus = open_corpus(tiny_speakers, "sid")
    assert isinstance(corpus, SpeakerCorpus)
    for split in SPLITS:
        theirs = dataset.SpeakerClassifiDataset(split, corpus.audio_root, corpus.split_file)
        items = corpus.items(split)
        assert theirs.dataset == [str(item.path) for item in items]
        assert theirs.label == [corpus.classes.index(item.label) for item in items]
        assert theirs.label2speaker(theirs.label) == [item.label for item in items]
        for index in range(0, len(items), 5):
            assert np.array_equal(theirs[index][0], corpus.read(items[index].path).numpy())


def s3prl_dataset(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Any:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    dataset = importlib.import_module("s3prl.downstream.voxceleb1.dataset")
    monkeypatch.setattr(dataset, "CACHE_PATH", str(folder / "s3prl_lists"))
    return dataset


@pytest.mark.speech
def test_real_speech(speech_data: Path, tmp_path: Path) -> None:
    table = speech_data / "sid_arabic_sc" / "metadata.csv"
    corpus = open_corpus(prepare_corpus("sid", table, tmp_path / "out"), "sid")
    corpus.check()
    assert corpus.name == "sid_arabic_sc"
    assert len(corpus.classes) == 15
    assert corpus.record().sizes == {"train": 120, "dev": 30, "test": 90}
