from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.ic.corpus import IntentCorpus, open_intents, read_as_text
from s3prl_compress.tasks.ic.prepare import prepare_intents
from s3prl_compress.tasks.registry import corpus_figures, open_corpus, prepare_corpus

from ...support.tables import write_table

CLASSES = (
    "action: change language",
    "action: activate",
    "action: deactivate",
    "action: increase",
    "object: none",
    "object: lamp",
    "object: lights",
    "location: none",
    "location: kitchen",
    "location: bedroom",
)


@pytest.fixture
def corpus_copy(tiny_intents: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_intents, tmp_path / "copy"))


def rows_of(table: Path) -> list[dict[str, str]]:
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_card(root: Path) -> Path:
    """Make a prepared corpus one in the layout of Fluent Speech Commands as downloaded."""
    (root / "corpus.json").unlink()
    return root


def test_splits_labels_and_speakers_are_those_of_the_table(tiny_intents: Path) -> None:
    corpus = open_corpus(tiny_intents, "ic")
    corpus.check()
    assert [len(corpus.items(split)) for split in ("train", "dev", "test")] == [45, 15, 30]
    assert Counter(item.label for item in corpus.items("dev")) == {
        "change language/none/none": 3,
        "activate/lamp/kitchen": 3,
        "activate/lights/kitchen": 3,
        "deactivate/lights/bedroom": 3,
        "increase/lamp/none": 3,
    }
    assert {item.speaker for item in corpus.test_items()} == {"Ann test", "Bé test", "Cy test"}
    assert corpus_figures(tiny_intents, "ic")["sizes"] == {"train": 45, "dev": 15, "test": 30}


def test_classes_are_s3prls_outputs(tiny_intents: Path) -> None:
    corpus = open_corpus(tiny_intents, "ic")
    train = pandas.read_csv(tiny_intents / "data" / "train_data.csv")
    expected = [
        [f"{slot}: {value}" for value in Counter(train[slot])]
        for slot in ("action", "object", "location")
    ]
    assert [list(slot) for slot in corpus.slots] == expected
    assert corpus.classes == CLASSES
    for item in corpus.items("test"):
        assert corpus.label(corpus.values(item.label)) == item.label


def test_the_official_layout_needs_no_preparation(corpus_copy: Path) -> None:
    corpus = open_corpus(without_card(corpus_copy), "ic")
    corpus.check()
    assert (corpus.variant, corpus.classes) == ("intents", CLASSES)
    assert len(corpus.items("train")) == 45


def test_as_many_values_as_fluent_speech_commands_are_taken_for_it(tmp_path: Path) -> None:
    lines = ["path,speakerId,action,object,location"]
    lines += [f"wavs/{n}.wav,s,a{n % 6},o{n % 14},l{n % 4}" for n in range(84)]
    (tmp_path / "data").mkdir()
    for split in ("train", "valid", "test"):
        text = "\n".join(lines) + "\n"
        (tmp_path / "data" / f"{split}_data.csv").write_text(text, encoding="utf-8")
    corpus = open_corpus(tmp_path, "ic")
    assert (corpus.variant, corpus.name) == ("fluent", "Fluent Speech Commands")
    assert [len(slot) for slot in corpus.slots] == [6, 14, 4]


def test_the_official_folder_is_prepared_with_links(corpus_copy: Path, tmp_path: Path) -> None:
    source = without_card(corpus_copy)
    output = prepare_corpus("ic", str(source), tmp_path / "out")
    assert (output / "wavs").is_symlink()
    first, second = open_corpus(source, "ic"), open_corpus(output, "ic")
    second.check()
    assert first.fingerprint() == second.fingerprint()
    assert prepare_intents(source, output) == output  # as it is


def test_a_folder_inside_is_hinted_at(corpus_copy: Path, tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "fluent_speech_commands_dataset"
    inner.parent.mkdir()
    without_card(corpus_copy).rename(inner)
    with pytest.raises(InputError, match=r"no corpus of commands: .*; give .*_dataset"):
        open_intents(inner.parent)
    with pytest.raises(InputError, match="not the folder of Fluent Speech Commands"):
        prepare_intents(inner.parent, tmp_path / "out")


@pytest.mark.parametrize(
    ("value", "text"),
    [("none", True), ("change language", True), ("1", False), ("True", False), ("NA", False)],
)
def test_only_text_is_a_value(value: str, text: bool) -> None:
    assert read_as_text(value) is text


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("object", "", "empty object"),
        ("object", "2", "value that s3prl does not read as text .*object '2'"),
        ("location", "up/down", "location with a /"),
        ("speaker", "", "empty speaker"),
        ("split", "later", "unknown split"),
        ("action", "sing", "value that training lacks: 1 .action sing in test"),
    ],
)
def test_a_wrong_cell_is_one_line_and_nothing_is_written(
    intent_table: Path, tmp_path: Path, column: str, value: str, message: str
) -> None:
    rows: list[dict[str, Any]] = rows_of(intent_table)
    for row in rows:
        row["file"] = str(intent_table.parent / row["file"])
    next(row for row in rows if row["split"] == "test")[column] = value
    with pytest.raises(InputError, match=message) as raised:
        prepare_corpus("ic", str(write_table(tmp_path, rows)), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path,", "place,", "no column path; a list needs path, speakerId, action"),
        (
            "activate",
            "sing",
            "value that training lacks: 18 .action sing x 12 in data/test_data.csv",
        ),
        ("wavs/", "/wavs/", "path that does not lie below the corpus"),
        ("lamp", "NaN", "value that s3prl does not read as text"),
    ],
)
def test_a_wrong_list_is_one_line(corpus_copy: Path, old: str, new: str, message: str) -> None:
    path = corpus_copy / "data" / "test_data.csv"
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=message) as raised:
        open_corpus(corpus_copy, "ic").check()
    assert "\n" not in str(raised.value)


def test_what_decides_a_score_belongs_to_the_fingerprint(corpus_copy: Path) -> None:
    before = open_corpus(corpus_copy, "ic")
    first = before.fingerprint()
    before.items("test")[0].path.unlink()
    with pytest.raises(InputError, match="missing file"):
        open_corpus(corpus_copy, "ic").check()
    path = corpus_copy / "data" / "valid_data.csv"
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1]), encoding="utf-8")
    shutil.copy(before.items("test")[1].path, before.items("test")[0].path)
    assert open_corpus(corpus_copy, "ic").fingerprint() != first


def test_other_classes_than_the_training_lists_are_refused(corpus_copy: Path) -> None:
    path = corpus_copy / "corpus.json"
    text = path.read_text("utf-8")
    path.write_text(text.replace("action: increase", "action: decrease"), encoding="utf-8")
    corpus = open_corpus(corpus_copy, "ic")
    assert isinstance(corpus, IntentCorpus)
    with pytest.raises(InputError, match="classes that differ from those of the training list"):
        corpus.check()
