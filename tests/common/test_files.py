from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import file_atomically, folder_atomically, write_atomically


def test_a_file_appears_complete_with_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with file_atomically(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    write_atomically(path, "two")
    assert path.read_text() == "two"


@pytest.mark.parametrize("atomically", [file_atomically, folder_atomically])
def test_a_failure_changes_nothing(tmp_path: Path, atomically) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a"
    with atomically(path) as temporary:
        before = os.stat(temporary).st_ino
    with pytest.raises(RuntimeError), atomically(path):
        raise RuntimeError
    assert path.stat().st_ino == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_and_its_files_have_usual_permissions(tmp_path: Path) -> None:
    with folder_atomically(tmp_path / "made") as temporary:
        (temporary / "below").mkdir(mode=0o700)
        (temporary / "below" / "weights").touch(mode=0o600)
    (tmp_path / "usual").touch()
    (tmp_path / "usual folder").mkdir()
    made = tmp_path / "made"
    assert (made / "below" / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode
    for folder in (made, made / "below"):
        assert folder.stat().st_mode == (tmp_path / "usual folder").stat().st_mode


def test_a_folder_that_cannot_be_replaced_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_atomically(tmp_path / "a") as temporary:
        (temporary / "old").touch()
    rename, calls = os.rename, []

    def interrupted(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:  # the old folder is out of the way, the new one not yet there
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), folder_atomically(tmp_path / "a"):
        pass
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_an_error_of_reading_is_not_taken_for_one_of_writing(tmp_path: Path) -> None:
    elsewhere = OSError(errno.EACCES, "Permission denied", "/data/a.wav")
    with pytest.raises(OSError, match="wav"), file_atomically(tmp_path / "a"):
        raise elsewhere
    full = RuntimeError("I/O error: No space left on device (os error 28)")
    with pytest.raises(InputError, match="a: cannot be written"), file_atomically(tmp_path / "a"):
        raise full
