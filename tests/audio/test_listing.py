from __future__ import annotations

from pathlib import Path

import pytest

from s3prl_compress.audio.listing import list_audio
from s3prl_compress.common.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


LIBRISPEECH = (
    "train-clean-100/1/2/1-2-0001.flac",
    "train-other-500/3/4/3-4-0001.flac",
    "dev-clean/5/6/5-6-0001.flac",
    "test-other/7/8/7-8-0001.flac",
    "extra.wav",
)


@pytest.mark.parametrize("above", ["", "LibriSpeech/"])
def test_librispeech_s_evaluation_parts_are_left_out(
    tmp_path: Path, above: str, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, *(above + name for name in LIBRISPEECH))
    found = list_audio(tmp_path)
    assert found.files == tuple(above + name for name in LIBRISPEECH[:2])
    assert found.selection == "train-clean-100, train-other-500"
    note = (
        f"note: {tmp_path}: train-clean-100, train-other-500 used, dev-clean, "
        "other files, test-other skipped\n"
    )
    assert capsys.readouterr().err == note
    assert list_audio(tmp_path) == found
    assert capsys.readouterr().err == ""  # once is enough


def test_a_part_that_is_given_is_taken_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, *LIBRISPEECH)
    found = list_audio(tmp_path / "dev-clean")
    assert (found.files, found.selection) == (("5/6/5-6-0001.flac",), "")


def test_a_folder_without_parts_is_taken_whole(tmp_path: Path) -> None:
    names = ("b.OPUS", "dev/1.wav", "test-set/1.ogg", "train/1.flac")
    found = list_audio(touch(tmp_path, *names, "notes.txt"))
    assert (found.files, found.selection) == (names, "")


def test_evaluation_parts_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *LIBRISPEECH[2:4])
    with pytest.raises(InputError, match=r"contains dev-clean, test-other but no train-\*"):
        list_audio(tmp_path)


def test_a_table_with_splits_gives_its_training_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "metadata.csv"
    table.write_text("file,split\nb.wav,train\na.wav,train\nc.wav,valid\nd.wav,test\n")
    for source in (table, tmp_path):
        found = list_audio(source)
        assert (found.root, found.files) == (tmp_path, ("a.wav", "b.wav"))
        assert found.selection == "split train"
    assert "2 of 4 recordings are used" in capsys.readouterr().err
    table.write_text("file,split\nc.wav,valid\nd.wav,test\n")
    with pytest.raises(InputError, match="has no row `train`"):
        list_audio(table)


@pytest.mark.parametrize("splits", [("", ""), ("session1", "session2"), ("train", "train")])
def test_a_table_without_evaluation_rows_is_taken_whole(
    tmp_path: Path, splits: tuple[str, str]
) -> None:
    table = tmp_path / "list.csv"
    table.write_text("file,split\n" + "".join(f"{n}.wav,{s}\n" for n, s in enumerate(splits)))
    found = list_audio(table)
    assert (found.files, found.selection) == (("0.wav", "1.wav"), "")


def test_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no audio"):
        list_audio(tmp_path)
    with pytest.raises(InputError, match="no such folder or table"):
        list_audio(tmp_path / "elsewhere")
    (tmp_path / "metadata.csv").write_text("file\na.wav\na.wav\n")
    with pytest.raises(InputError, match=r"file listed twice: 1 \(a.wav\); correct the table"):
        list_audio(tmp_path)
