"""A file of frames: written in any order, resumed after a kill, checked against free space.

Its index has a CRC-32 of each utterance, which is compared when the utterance is first read. To
check the whole file when it is opened would mean to read up to 400 GB for nothing else.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..common.errors import InputError
from ..common.files import write_atomically

_SECONDS_BETWEEN_MARKS = 30.0
"""Seconds of work that a killed process can lose."""


class FrameFile:
    """The frames of all utterances, mapped from a complete file."""

    def __init__(self, path: Path, index: dict[str, Any], starts: Sequence[int]) -> None:
        self._path, self._index = path, index
        self._layers, frames, self._width = index["identity"]["shape"]
        self._bounds = [*starts, frames]
        self._values = np.memmap(path, dtype=np.float16, mode="r")
        self._checked: set[int] = set()

    def read(self, row: int) -> np.ndarray | None:
        """Return an utterance, [layers + 1, frames, width]; None if its checksum is wrong."""
        first, last = self._bounds[row], self._bounds[row + 1]
        frame = self._layers * self._width
        stored = self._values[first * frame : last * frame]
        if row not in self._checked:
            if zlib.crc32(stored.data) != self._index["crc32"][row]:
                return None
            self._checked.add(row)
        return stored.reshape(self._layers, last - first, self._width)

    def replace(self, row: int, frames: Tensor) -> None:
        """Write a damaged utterance again, [layers + 1, frames, width]."""
        data = frames.contiguous().numpy().tobytes()
        with _one_line(self._path):
            with self._path.open("r+b") as file:
                file.seek(self._bounds[row] * self._layers * self._width * 2)
                file.write(data)
            self._index["crc32"][row] = zlib.crc32(data)
            _write_index(self._path, self._index)


def open_frames(path: Path, identity: dict[str, Any], starts: Sequence[int]) -> FrameFile | None:
    """Map the frames of `identity`, or return None where they are not there or not whole."""
    place = path.with_suffix(".json")
    if not place.is_file():
        return None
    try:
        index = json.loads(place.read_text("utf-8"))
        whole = path.stat().st_size == 2 * math.prod(identity["shape"])
        if index["identity"] == identity and len(index["crc32"]) == len(starts) and whole:
            return FrameFile(path, index, starts)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    print(f"{path}: damaged (not what its index says); computed again", file=sys.stderr)
    return None


def check_space(path: Path, needed: int, utterances: int) -> None:
    """Raise `InputError` where `needed` bytes do not fit beside `path`.

    What is there of the file already, shards of it among them, is part of these bytes.
    """
    there = 0
    for file in path.parent.glob(f"{path.stem}.*"):
        with suppress(FileNotFoundError):  # another process is renaming it
            there += file.stat().st_blocks * 512
    free = shutil.disk_usage(path.parent).free
    if needed - there > free:
        raise InputError(
            f"{path.parent}: the frames of {utterances} utterances need {needed / 1e9:.1f} GB, "
            f"{free / 1e9:.1f} GB are free; give another folder for features, remove files of "
            "finished upstreams there (*.frames), or set frames: streamed in the recipe, which "
            "stores nothing"
        )


class FrameWriter:
    """Writes utterances, in any order, to a file beside `path`, and records its progress."""

    def __init__(self, path: Path, identity: dict[str, Any], starts: Sequence[int]) -> None:
        self._path, self._starts = path, starts
        self._partial, self._mark = path.with_suffix(".partial"), path.with_suffix(".progress")
        self._identity = identity
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        self._checksums = self._read_mark()
        """By row; None for utterances that are not there yet."""
        self._file = open(self._partial, "r+b" if self.done else "w+b")  # noqa: SIM115
        self._marked_at = time.monotonic()
        layers, _, width = identity["shape"]
        self._frame_bytes = layers * width * 2

    @property
    def done(self) -> set[int]:
        """The rows that are there already, also from before a kill."""
        return {row for row, checksum in enumerate(self._checksums) if checksum is not None}

    def put(self, row: int, frames: Tensor) -> None:
        """Write one utterance, [layers + 1, frames, width]."""
        data = frames.contiguous().numpy().tobytes()
        self._checksums[row] = zlib.crc32(data)
        with _one_line(self._path):
            self._file.seek(self._starts[row] * self._frame_bytes)
            self._file.write(data)

    def mark(self, *, now: bool = False) -> None:
        """Record that everything so far is on disk: every 30 seconds, or now."""
        if not now and time.monotonic() - self._marked_at < _SECONDS_BETWEEN_MARKS:
            return
        self._sync()
        mark = {"identity": self._identity, "checksums": self._checksums}
        write_atomically(self._mark, json.dumps(mark))
        self._marked_at = time.monotonic()

    def discard(self) -> None:
        """Remove the unfinished file."""
        self._file.close()
        self._mark.unlink(missing_ok=True)
        self._partial.unlink(missing_ok=True)

    def finish(self, identity: dict[str, Any]) -> None:
        """Rename the complete file to its final name; the index is written last."""
        self._sync()
        self._file.close()
        os.replace(self._partial, self._path)
        self._mark.unlink(missing_ok=True)
        _write_index(self._path, {"identity": identity, "crc32": self._checksums})

    def _sync(self) -> None:
        with _one_line(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def _read_mark(self) -> list[int | None]:
        try:
            mark = json.loads(self._mark.read_text("utf-8"))
            if mark["identity"] == self._identity and self._partial.is_file():
                return list(mark["checksums"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return [None] * len(self._starts)


def _write_index(path: Path, index: dict[str, Any]) -> None:
    write_atomically(path.with_suffix(".json"), json.dumps(index) + "\n")


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what the system says about writing, a full disk above all, into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; make room there and start again: it resumes where it "
            "stopped"
        ) from error
