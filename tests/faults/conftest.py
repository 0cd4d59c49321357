"""A disk of a few megabytes, which is full or read-only when a test wants it to be."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE = 8 << 20
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}$")


@dataclass(frozen=True)
class Disk:
    """A file system of its own."""

    path: Path

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes, in whole pages."""
        free = os.statvfs(self.path)
        with (self.path / "ballast").open("wb") as file:
            file.write(bytes(free.f_bavail * free.f_bsize - left))

    def make_room(self) -> None:
        (self.path / "ballast").unlink()

    def read_only(self, on: bool = True) -> None:
        _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.path))

    def files(self) -> set[str]:
        """Return all files, but for the ballast, locks and logs."""
        found = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*")}
        return {name for name in found if not name.endswith((".lock", ".log", "ballast"))}

    def half_written(self) -> set[str]:
        """Return the temporary files and folders of atomic writes."""
        return {name for name in self.files() if _TEMPORARY.match(name.rpartition("/")[2])}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: that takes root, and Linux")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
