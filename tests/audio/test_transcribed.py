from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from s3prl_compress.audio import open_transcribed
from s3prl_compress.common.errors import InputError


def write_audio(path: Path, samples: int = 2000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(samples), 16_000)


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    for split, speaker in (("train-clean-100", "103"), ("dev-clean", "84"), ("test-clean", "61")):
        chapter = tmp_path / split / speaker / "7"
        lines = []
        for number in range(2):
            name = f"{speaker}-7-000{number}"
            write_audio(chapter / f"{name}.flac", 2000 + 320 * number)
            lines.append(f"{name} TEXT {number} OF {split.upper()}\n")
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))
    return tmp_path


def test_librispeech_s_layout(librispeech: Path) -> None:
    assert len(open_transcribed(librispeech).texts) == 6
    train = open_transcribed(librispeech, "train")
    assert train.audio.files == (
        "train-clean-100/103/7/103-7-0000.flac",
        "train-clean-100/103/7/103-7-0001.flac",
    )
    assert train.texts == ("TEXT 0 OF TRAIN-CLEAN-100", "TEXT 1 OF TRAIN-CLEAN-100")
    assert train.audio.lengths == (2000, 2320)
    assert train.speakers == ("103", "103")
    assert train.subset([1]).speakers == ("103",)
    # One of its folders alone has no splits, and is taken whole.
    assert open_transcribed(librispeech / "dev-clean", "test").texts[0] == "TEXT 0 OF DEV-CLEAN"


def test_splits_are_found_below_the_given_folder(librispeech: Path, tmp_path: Path) -> None:
    """Otherwise fine-tuning would read the test speech, too."""
    (tmp_path / "LibriSpeech").mkdir()
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        (librispeech / part).rename(tmp_path / "LibriSpeech" / part)
    train = open_transcribed(tmp_path, "train")
    assert train.texts == ("TEXT 0 OF TRAIN-CLEAN-100", "TEXT 1 OF TRAIN-CLEAN-100")
    assert open_transcribed(tmp_path, "test").texts[0] == "TEXT 0 OF TEST-CLEAN"


def test_short_files_take_their_texts_with_them(librispeech: Path) -> None:
    long = open_transcribed(librispeech, "test", minimum_samples=2100)
    assert long.texts == ("TEXT 1 OF TEST-CLEAN",)


def test_a_table_may_name_speakers(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_audio(tmp_path / f"{name}.wav")
    table = tmp_path / "metadata.csv"
    table.write_text("file,text,speaker\nb.wav,two,Ann\na.wav,one,\n")
    assert open_transcribed(table).speakers == ("", "Ann")


@pytest.mark.parametrize("column", ["transcript", "text"])
def test_tables(tmp_path: Path, column: str) -> None:
    for name in ("b", "a", "c"):
        write_audio(tmp_path / f"{name}.wav")
    table = tmp_path / "metadata.csv"
    table.write_text(f"file,{column},split\nb.wav,two,valid\na.wav,one,train\nc.wav,three,dev\n")
    for source in (table, tmp_path):
        assert open_transcribed(source).texts == ("one", "two", "three")
        assert open_transcribed(source, "dev").texts == ("two", "three")
        assert open_transcribed(source).speakers == ("", "", "")
    with pytest.raises(InputError, match="nothing of split 'test'; there are: dev, train"):
        open_transcribed(table, "test")
    table.write_text(f"file,{column}\nb.wav,two\n")
    assert open_transcribed(table, "test").texts == ("two",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,words\na.wav,one\n", "no column text; a table needs the columns file, text"),
        ("file,text\na.wav,\n", r"empty text: 1 .a\.wav."),
        ("file,text,split\na.wav,one,training\n", "split that is none of .*: 1 .'training'"),
        ("file,text\nlost.wav,one\n", r"missing file: 1 .lost\.wav"),
        ("file,text\na.wav,one\na.wav,two\n", r"file listed twice with two texts: 1 .a\.wav"),
        ("file,text\na.wav\n", "row with too few cells: 1 .line 2"),
    ],
)
def test_bad_tables_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    write_audio(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        open_transcribed(tmp_path)


def test_bad_folders_are_one_line(librispeech: Path, tmp_path: Path) -> None:
    (librispeech / "dev-clean/84/7/84-7-0001.flac").unlink()
    with pytest.raises(InputError, match=r"transcript without a recording: 1 .*84-7-0001"):
        open_transcribed(librispeech)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="no transcripts"):
        open_transcribed(empty)
    with pytest.raises(InputError, match="no such folder"):
        open_transcribed(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("84-7-0002 caf\xe9\n".encode("latin-1"), r"84-7\.trans\.txt: not UTF-8 .* in line 3"),
        (b"84-7-0000 OTHER WORDS\n", r"84-7\.trans\.txt: two lines for 84-7-0000"),
        (b"84-7-0002\n", "empty text: 1 .dev-clean/84/7/84-7-0002.flac"),
    ],
)
def test_bad_lists_of_transcripts_are_one_line(
    librispeech: Path, added: bytes, message: str
) -> None:
    write_audio(librispeech / "dev-clean/84/7/84-7-0002.flac")
    path = librispeech / "dev-clean/84/7/84-7.trans.txt"
    path.write_bytes(path.read_bytes() + added)
    with pytest.raises(InputError, match=message) as caught:
        open_transcribed(librispeech)
    assert "\n" not in str(caught.value)


@pytest.mark.speech
def test_real_speech(speech_data: Path) -> None:
    for split in ("train", "dev", "test"):
        speech = open_transcribed(speech_data / "asr_minilibri", split)  # type: ignore[arg-type]
        assert len(speech.texts) == len(speech.audio.files) > 10
        assert set("".join(speech.texts)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
