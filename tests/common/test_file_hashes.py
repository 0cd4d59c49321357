"""Hashes are remembered only for files that are unchanged."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from s3prl_compress.common import file_hashes as module
from s3prl_compress.common.errors import InputError
from s3prl_compress.common.file_hashes import VERIFY, file_hashes

NAMES = [f"speaker/{number}.wav" for number in range(6)]


@pytest.fixture(name="root")
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VERIFY, raising=False)
    monkeypatch.setattr(module, "FEWEST", 2)
    root = tmp_path / "corpus"
    for number, name in enumerate(NAMES):
        write(root / name, bytes([number] * 100))
    return root


def write(path: Path, content: bytes, changed: float | None = None) -> None:
    """Write a file, by default as if it had been written a minute ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    when = time.time() - 60 if changed is None else changed
    os.utime(path, (when, when))


@pytest.fixture(name="read")
def _read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    original = module.sha256

    def counting(path: Path) -> str:
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(module, "sha256", counting)
    return names


def expected(root: Path) -> list[str]:
    return [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in NAMES]


def test_unchanged_files_are_not_read_again(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file_hashes(root, NAMES, "") == expected(root)
    assert len(read) == 6
    monkeypatch.setattr(module, "SAMPLE", 2)
    assert file_hashes(root, NAMES, "") == expected(root)
    assert len(read) == 6 + 2
    monkeypatch.setattr(module, "SAMPLE", 0)
    assert file_hashes(root, NAMES[2:4], "") == expected(root)[2:4]
    assert len(read) == 6 + 2


@pytest.mark.parametrize("how", ["longer", "later", "replaced"])
def test_a_changed_file_is_read(
    how: str, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE", 0)
    before, path = file_hashes(root, NAMES, ""), root / NAMES[3]
    facts = path.stat()
    if how == "replaced":
        write(path.with_suffix(".new"), b"x" * 100, facts.st_mtime)
        path.with_suffix(".new").rename(path)
    else:
        content = b"x" * (101 if how == "longer" else 100)
        write(path, content, facts.st_mtime + (1 if how == "later" else 0))
    read.clear()
    after = file_hashes(root, NAMES, "")
    assert after == expected(root)
    assert after[3] != before[3]
    assert read == [path.name]


def test_the_sample_notices_what_looks_unchanged(
    root: Path, read: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file_hashes(root, NAMES, "")
    path = root / NAMES[3]
    write(path, b"x" * 100, path.stat().st_mtime_ns / 1e9)
    os.utime(path, ns=(path.stat().st_atime_ns, stored_time(root)))
    assert file_hashes(root, NAMES, "") == expected(root)
    assert "its content has changed, but not its size" in capsys.readouterr().err
    assert len(read) == 3 * 6


def stored_time(root: Path) -> int:
    """Return the time of modification that is remembered of the fourth file."""
    return int(module._load(module._store(root))[NAMES[3]][1])


def test_all_files_are_read_if_asked(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file_hashes(root, NAMES, "")
    monkeypatch.setenv(VERIFY, "1")
    assert file_hashes(root, NAMES, "") == expected(root)
    assert len(read) == 2 * 6


def test_new_files_are_not_remembered(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could be written again within the resolution of the clock."""
    monkeypatch.setattr(module, "SAMPLE", 0)
    write(root / NAMES[0], b"new", time.time())
    file_hashes(root, NAMES, "")
    read.clear()
    file_hashes(root, NAMES, "")
    assert read == ["0.wav"]


def test_a_damaged_or_missing_store_is_no_fault(root: Path, read: list[str]) -> None:
    file_hashes(root, NAMES, "")
    store = module._store(root)
    damaged = store.read_text().replace(expected(root)[0], "0" * 64)
    store.write_text(damaged)
    assert file_hashes(root, NAMES, "") == expected(root)
    store.unlink()
    store.parent.rmdir()
    store.parent.write_text("a file in its place")
    assert file_hashes(root, NAMES, "") == expected(root)
    assert len(read) == 3 * 6


def test_a_file_that_is_gone_is_named(root: Path) -> None:
    file_hashes(root, NAMES, "")
    (root / NAMES[2]).unlink()
    with pytest.raises(InputError, match=r"2\.wav: cannot be read \(No such file"):
        file_hashes(root, NAMES, "")
