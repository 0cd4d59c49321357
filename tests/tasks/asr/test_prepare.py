from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from s3prl_compress.common.errors import InputError
from s3prl_compress.tasks.base.transcripts import open_transcripts
from s3prl_compress.tasks.registry import open_corpus, prepare_corpus

COLUMNS = ("file", "label", "speaker", "text", "split")


def write_table(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "metadata.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(folder: Path, file: str, speaker: str, text: str, split: str) -> dict[str, Any]:
    """Describe a recording of 0.1 s and write it, at 8 kHz."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / file, 0.1 * np.sin(np.arange(800)), 8000)
    return {"file": file, "speaker": speaker, "text": text, "split": split}


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    found = [row(tmp_path, f"a/7-31-{n:04}.flac", "7", "A word", "train") for n in range(2)]
    found += [row(tmp_path, "b/7-0-0000.flac", "7", "own name", "valid")]
    found += [row(tmp_path, f"c/{n}.wav", "7", f"NUMBER {'AB'[n]}", "valid") for n in range(2)]
    found += [row(tmp_path, f"d/{name}.wav", name, "BONJOUR", "test") for name in ("Zoé", "Zo-")]
    return found


def test_a_table_becomes_librispeech_s_layout(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    root = prepare_corpus("asr", write_table(tmp_path, rows), tmp_path / "out")
    corpus = open_transcripts(root)
    corpus.check()
    dev = {corpus.utterance_name(item): item.label for item in corpus.items("dev")}
    assert dev == {"7-0-0000": "OWN NAME", "7-0-0001": "NUMBER A", "7-0-0002": "NUMBER B"}
    names = [item.relative for item in corpus.items("train")]
    assert names == [f"train-clean-100/7/31/7-31-{number:04}.wav" for number in range(2)]
    lists = root / "train-clean-100" / "7" / "31" / "7-31.trans.txt"
    assert lists.read_text() == "7-31-0000 A WORD\n7-31-0001 A WORD\n"
    assert [item.path.parts[-3] for item in corpus.items("test")] == ["Zo_", "Zo__2"]
    assert corpus.lengths("test") == [1600, 1600]
    assert corpus.name == tmp_path.name


def test_a_speaker_whose_name_is_too_long_for_a_folder_is_one_line(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    rows[-1]["speaker"] = "x" * 300
    with pytest.raises(InputError, match=r"out: cannot be written \(File name too long") as caught:
        prepare_corpus("asr", write_table(tmp_path, rows), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_whose_name_is_too_long_is_missing(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    rows[-1]["file"] = "x" * 300 + ".wav"
    with pytest.raises(InputError, match=r"missing file: 1 \(x"):
        prepare_corpus("asr", write_table(tmp_path, rows), tmp_path / "out")


def test_a_name_that_two_files_have_is_given_to_neither(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    rows.append(row(tmp_path, "e/7-31-0000.wav", "7", "AGAIN", "train"))
    corpus = open_corpus(prepare_corpus("asr", write_table(tmp_path, rows), tmp_path / "o"), "asr")
    corpus.check()
    train = {corpus.utterance_name(item): item.label for item in corpus.items("train")}
    assert train == {"7-31-0001": "A WORD", "7-0-0000": "A WORD", "7-0-0001": "AGAIN"}


def test_all_faults_of_a_table_are_listed(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows[0]["text"], rows[1]["text"] = "", "50 % off"
    rows[2]["speaker"] = ""
    (tmp_path / rows[3]["file"]).unlink()
    rows[5]["split"] = rows[6]["split"] = "valid"
    with pytest.raises(InputError) as caught:
        prepare_corpus("asr", write_table(tmp_path, rows), tmp_path / "out")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "empty text: 1 (a/7-31-0000.flac)",
        "transcript with other characters than A-Z and ': 1 (a/7-31-0001.flac has %05)",
        "empty speaker: 1 (b/7-0-0000.flac)",
        "missing file: 1 (c/0.wav)",
        "split without a recording: 1 (test)",
    ):
        assert part in message
    assert not (tmp_path / "out").exists()


def test_the_demo_is_complete_and_says_that_it_is_generated(tmp_path: Path) -> None:
    corpus = open_corpus(prepare_corpus("asr", "demo", tmp_path / "demo"), "asr")
    corpus.check()
    assert corpus.generated
    assert corpus.record().sizes == {"train": 210, "dev": 30, "test": 100}


@pytest.mark.speech
def test_real_speech(speech_data: Path, tmp_path: Path) -> None:
    table = speech_data / "asr_minilibri" / "metadata.csv"
    corpus = open_corpus(prepare_corpus("asr", table, tmp_path / "out"), "asr")
    corpus.check()
    with open(table, newline="", encoding="utf-8") as file:
        texts = {Path(line["file"]).stem: line["text"] for line in csv.DictReader(file)}
    for split, count in (("train", 100), ("dev", 12), ("test", 24)):
        items = corpus.items(split)  # type: ignore[arg-type]
        assert len(items) == count
        assert all(texts[corpus.utterance_name(item)] == item.label for item in items)


def test_transcript_is_another_name_of_the_column(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    table = write_table(tmp_path, rows)
    one = prepare_corpus("asr", table, tmp_path / "one")
    header, rest = table.read_text("utf-8").split("\n", 1)
    table.write_text(header.replace("text", "transcript") + "\n" + rest, "utf-8-sig")
    two = prepare_corpus("asr", table, tmp_path / "two")
    assert open_corpus(one, "asr").fingerprint() == open_corpus(two, "asr").fingerprint()


def test_a_table_in_another_encoding_is_one_line(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    table = write_table(tmp_path, rows)
    table.write_text(table.read_text("utf-8"), encoding="latin-1")
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 0xe9 in line 7\); save it as UTF-8"):
        prepare_corpus("asr", table, tmp_path / "out")
