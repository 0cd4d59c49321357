from __future__ import annotations

import csv
import importlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.corpus import SPLITS
from s3prl_compress.tasks.er.corpus import EMOTIONS, EmotionCorpus, open_emotions
from s3prl_compress.tasks.er.prepare import prepare_emotions
from s3prl_compress.tasks.registry import open_corpus, prepare_corpus

from ...support.tables import write_table


@pytest.fixture
def corpus_copy(tiny_emotions: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_emotions, tmp_path / "corpus"))


def change(root: Path, fold: int, part: str, **changes: Any) -> None:
    path = root / "meta_data" / f"Session{fold}" / f"{part}_meta_data.json"
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def listed(root: Path, fold: int, part: str) -> list[dict[str, str]]:
    path = root / "meta_data" / f"Session{fold}" / f"{part}_meta_data.json"
    found: list[dict[str, str]] = json.loads(path.read_text("utf-8"))["meta_data"]
    return found


def test_a_fold_is_tested_on_its_session_and_trained_on_the_others(tiny_emotions: Path) -> None:
    corpus = open_corpus(tiny_emotions, "er")
    corpus.check()
    assert (corpus.variant, corpus.classes, corpus.folds) == ("sessions", EMOTIONS, (1, 2, 3, 4, 5))
    every = {item.relative for fold in corpus.folds for item in corpus.items("test", fold)}
    assert len(every) == 80
    for fold in corpus.folds:
        train, dev, test = ({i.relative for i in corpus.items(s, fold)} for s in SPLITS)
        assert (len(train), len(dev), len(test)) == (51, 13, 16)
        assert not train & dev
        assert train | dev == every - test
        assert {path.split("/")[0] for path in test} == {f"Session{fold}"}
        assert Counter(item.label for item in corpus.items("test", fold)) == dict.fromkeys(
            EMOTIONS, 4
        )
    assert [item.relative for item in corpus.test_items()] == sorted(every)
    assert corpus.record().sizes == {"train": 255, "dev": 65, "test": 80}
    assert corpus.notes == ()


def test_who_changes_a_list_of_items_changes_no_other(tiny_emotions: Path) -> None:
    corpus = open_corpus(tiny_emotions, "er")
    for split in SPLITS:
        corpus.items(split, 1).clear()
        assert corpus.items(split, 1)
    corpus.test_items().clear()
    assert len(corpus.test_items()) == 80
    corpus.record().sizes.clear()
    assert corpus.record().sizes["test"] == 80


def test_the_labels_are_the_table_s(emotion_table: Path, tiny_emotions: Path) -> None:
    with open(emotion_table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    contents = {(emotion_table.parent / row["file"]).read_bytes(): row["label"] for row in rows}
    for item in open_corpus(tiny_emotions, "er").test_items():
        assert contents[item.path.read_bytes()] == item.label


def test_the_speakers_are_the_table_s(emotion_table: Path, tiny_emotions: Path) -> None:
    with open(emotion_table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    contents = {(emotion_table.parent / row["file"]).read_bytes(): row["speaker"] for row in rows}
    items = open_corpus(tiny_emotions, "er").test_items()
    assert len({item.speaker for item in items}) == 10
    for item in items:
        assert contents[item.path.read_bytes()] == item.speaker


def test_all_faults_are_in_one_line(corpus_copy: Path) -> None:
    entries = listed(corpus_copy, 2, "test")
    entries[0]["label"] = "fru"
    change(corpus_copy, 2, "test", meta_data=entries)
    change(corpus_copy, 3, "test", labels={"neu": 1, "hap": 0, "ang": 2, "sad": 3})
    train = listed(corpus_copy, 4, "train")
    change(corpus_copy, 4, "train", meta_data=train[1:] + listed(corpus_copy, 4, "test")[:1])
    sad = [entry for entry in listed(corpus_copy, 5, "train") if entry["label"] != "sad"]
    change(corpus_copy, 5, "train", meta_data=sad)
    (corpus_copy / listed(corpus_copy, 1, "test")[3]["path"]).unlink()
    (corpus_copy / listed(corpus_copy, 1, "test")[4]["path"]).write_bytes(b"")
    with pytest.raises(InputError) as caught:
        open_corpus(corpus_copy, "er").check()
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "label that does not belong: 1 (fru in Session2/test)",
        "labels other than neu, hap, ang, sad from 0 on: 1 (Session3/test)",
        "file in a fold's train and test: 1 (Session4/",
        "train list that is not the other sessions: 2 (2 in fold 4, 16 in fold 5)",
        "class without a clip: 1 (sad in train of fold 5)",
        "missing file: 1 (Session1/",
        "empty file: 1 (Session1/",
    ):
        assert part in message, part


def test_a_list_that_s3prl_cannot_read_is_a_fault(corpus_copy: Path) -> None:
    (corpus_copy / "meta_data" / "Session1" / "train_meta_data.json").write_text("[]", "utf-8")
    with pytest.raises(InputError, match="no list of labels as s3prl reads it"):
        open_corpus(corpus_copy, "er").check()
    shutil.rmtree(corpus_copy / "meta_data" / "Session1")
    with pytest.raises(InputError, match=r"train_meta_data\.json: cannot be read"):
        open_corpus(corpus_copy, "er").items("test", 1)


def test_a_path_with_session_in_it_is_refused(corpus_copy: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(corpus_copy, tmp_path / "Sessions" / "corpus"))
    with pytest.raises(InputError, match="path that holds the word Session: 1"):
        open_corpus(root, "er").check()


def test_lists_decide_the_fingerprint_by_their_order_too(corpus_copy: Path) -> None:
    original = open_emotions(corpus_copy).fingerprint()
    entries = listed(corpus_copy, 2, "train")
    change(corpus_copy, 2, "train", meta_data=entries[::-1])
    corpus = open_emotions(corpus_copy)
    corpus.check()
    assert corpus.fingerprint() != original


def test_faults_of_a_table_are_listed_and_nothing_is_written(
    emotion_table: Path, tmp_path: Path
) -> None:
    with open(emotion_table, newline="", encoding="utf-8") as file:
        rows = [
            row | {"file": str(emotion_table.parent / row["file"])} for row in csv.DictReader(file)
        ]
    rows = [row for row in rows if row["split"] != "session5"]
    rows = [row for row in rows if row["label"] != "sad" or row["split"] == "session1"]
    rows[0] |= {"label": "bored"}
    rows[1] |= {"split": "train"}
    with pytest.raises(InputError) as caught:
        prepare_emotions(write_table(tmp_path, rows), tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "label other than neu, hap, ang, sad: 1 (bored of ",
        "unknown split: 1 ('train' on line 3)",
        "session without a clip: 1 (session5)",
        "class without a clip: 1 (sad outside of session1)",
    ):
        assert part in message, part
    assert not (tmp_path / "out").exists()


def test_a_session_of_one_class_is_refused(
    emotion_table: Path, corpus_copy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "speech"
    folder.mkdir()
    (folder / "audio").symlink_to(emotion_table.parent / "audio")
    with open(emotion_table, newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["split"] != "session2" or row["label"] == "ang"
        ]
    with pytest.raises(InputError, match=r"one class only.*: 1 .ang in session2"):
        prepare_emotions(write_table(folder, rows), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for path in corpus_copy.glob("meta_data/*/*.json"):
        content = json.loads(path.read_text())
        content["meta_data"] = [
            entry
            for entry in content["meta_data"]
            if "Session2" not in entry["path"] or entry["label"] == "ang"
        ]
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"one class only.*: 1 .ang in test of fold 2"):
        open_corpus(corpus_copy, "er").check()


def test_the_demo_is_complete_and_says_that_it_is_generated(tmp_path: Path) -> None:
    corpus = open_corpus(prepare_corpus("er", "demo", tmp_path / "demo"), "er")
    corpus.check()
    assert corpus.generated
    assert corpus.record().sizes["test"] == 320


@pytest.mark.s3prl
def test_the_folds_splits_and_waves_are_those_of_s3prl(tiny_emotions: Path, tmp_path: Path) -> None:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    expert = importlib.import_module("s3prl.downstream.emotion.expert")
    corpus = open_corpus(tiny_emotions, "er")
    assert isinstance(corpus, EmotionCorpus)
    for fold in corpus.folds:
        theirs = expert.DownstreamExpert(
            upstream_dim=32,
            downstream_expert={
                "datarc": {
                    "root": str(corpus.audio_root),
                    "meta_data": str(corpus.label_root),
                    "test_fold": f"fold{fold}",
                    "pre_load": False,
                    "valid_ratio": 0.2,
                },
                "modelrc": {
                    "projector_dim": 256,
                    "select": "UtteranceLevel",
                    "UtteranceLevel": {"pooling": "MeanPooling"},
                },
            },
            expdir=str(tmp_path),
        )
        for split in SPLITS:
            dataset = getattr(theirs, f"{split}_dataset")
            items = corpus.items(split, fold)
            assert len(dataset) == len(items)
            for (wave, label, name), item in zip(dataset, items, strict=True):
                assert (name, label) == (item.path.stem, EMOTIONS.index(item.label))
                np.testing.assert_array_equal(wave, corpus.read(item.path).numpy())


@pytest.mark.speech
def test_real_speech(speech_data: Path, tmp_path: Path) -> None:
    table = speech_data / "er_emodb" / "metadata.csv"
    corpus = open_corpus(prepare_corpus("er", table, tmp_path / "out"), "er")
    corpus.check()
    assert corpus.name == "er_emodb"
    assert [len(corpus.items("test", fold)) for fold in corpus.folds] == [68, 46, 65, 52, 60]


EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\t{dialog}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\t{dialog}_M000\texc\t[4.5000, 3.5000, 2.5000]
[14.8872 - 18.0175]\t{dialog}_F001\txxx\t[2.5000, 2.5000, 2.5000]
[19.2900 - 20.7875]\t{dialog}_F002\tang\t[2.5000, 2.5000, 2.5000]
[21.3257 - 24.7400]\t{dialog}_M001\tsad\t[2.5000, 3.0000, 2.5000]
[25.3257 - 26.7400]\t{dialog}_M002\thap\t[2.5000, 3.0000, 2.5000]
"""


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    """A corpus in IEMOCAP's own layout, two dialogs a session."""
    root = tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        for dialog in (f"Ses0{session}M_script01_1", f"Ses0{session}F_impro01"):
            folder = root / f"Session{session}"
            path = folder / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(EVALUATION.format(dialog=dialog), encoding="utf-8")
            (path.parent / f"._{dialog}.txt").write_bytes(b"\x00\xff")
            for name in ("F000", "F001", "F002", "M000", "M001", "M002"):
                wave = folder / "sentences" / "wav" / dialog / f"{dialog}_{name}.wav"
                wave.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(wave, np.full(800, 0.01 * session), 16_000)
    return root


def test_iemocap_is_converted_where_it_lies(iemocap: Path, tmp_path: Path) -> None:
    corpus = open_corpus(prepare_corpus("er", iemocap, tmp_path / "out"), "er")
    corpus.check()
    assert (corpus.variant, corpus.name, corpus.generated) == ("iemocap", "IEMOCAP", False)
    assert [(item.path.stem, item.label) for item in corpus.items("test", 2)] == [
        (f"{dialog}_{name}", label)
        for dialog in ("Ses02F_impro01", "Ses02M_script01_1")
        for name, label in (
            ("F000", "neu"),
            ("M000", "hap"),  # excited
            ("F002", "ang"),
            ("M001", "sad"),
            ("M002", "hap"),
        )
    ]
    # Whoever speaks, not who wears the markers in this dialog: that is what the lists name.
    speakers = {item.path.stem: item.speaker for item in corpus.test_items()}
    assert speakers["Ses02F_impro01_M000"] == speakers["Ses02M_script01_1_M000"] == "Ses02M"
    assert len(set(speakers.values())) == 10
    assert (corpus.root / "Session3").is_symlink()
    assert any("another random fifth" in note for note in corpus.notes)
    assert prepare_emotions(iemocap, corpus.root) == corpus.root


def test_the_converter_lists_what_s3prls_own_lists(iemocap: Path, tmp_path: Path) -> None:
    from s3prl_compress.s3prl_bridge.compat import apply_patches

    apply_patches()
    for path in iemocap.glob("*/dialog/EmoEvaluation/._*"):
        path.unlink()  # s3prl's would try to read them
    theirs = importlib.import_module("s3prl.downstream.emotion.IEMOCAP_preprocess")
    theirs.main(str(iemocap))
    root = prepare_emotions(iemocap, tmp_path / "out")
    for fold in range(1, 6):
        for part in ("train", "test"):
            ours, expected = listed(root, fold, part), listed(iemocap, fold, part)
            assert sorted(ours, key=str) == sorted(expected, key=str)
    # s3prl's own lists are taken as they are, without a card.
    corpus = open_corpus(iemocap, "er")
    corpus.check()
    assert (corpus.variant, corpus.notes) == ("iemocap", ())


def test_parts_of_iemocap_that_are_missing_are_named(iemocap: Path, tmp_path: Path) -> None:
    shutil.rmtree(iemocap / "Session4" / "dialog")
    wave = next((iemocap / "Session1" / "sentences").rglob("*_M000.wav"))
    wave.unlink()
    with pytest.raises(InputError) as caught:
        prepare_emotions(iemocap, tmp_path / "out")
    assert "session without a labelled utterance: 1 (Session4)" in str(caught.value)
    assert f"missing file: 1 ({wave.name} in Session1/sentences/wav)" in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"prepare er .* --output DIR"):
        open_corpus(iemocap, "er")


def test_another_folder_than_iemocap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not the folder of IEMOCAP, which holds Session1"):
        prepare_emotions(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
