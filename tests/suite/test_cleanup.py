"""What killed processes leave behind goes; everything else stays."""

from __future__ import annotations

import tempfile
from pathlib import Path

from s3prl_compress.common.files import write_atomically
from s3prl_compress.suite.cleanup import remove_temporary_files


def test_only_old_temporary_files_and_folders_go(tmp_path: Path) -> None:
    write_atomically(tmp_path / "records" / "a.json", "{}")
    (tmp_path / "records" / ".work").mkdir()
    (tmp_path / ".lock").touch()
    # As `write_atomically` and `folder_atomically` name them.
    tempfile.mkstemp(dir=tmp_path / "records", prefix=".a.json.")
    folder = Path(tempfile.mkdtemp(dir=tmp_path, prefix=".tiny."))
    (folder / "config.json").write_text("{")
    assert remove_temporary_files(tmp_path) == 0
    assert remove_temporary_files(tmp_path, older_than=-1) == 2
    assert not folder.exists()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == [".lock", "records", "records/.work", "records/a.json"]
