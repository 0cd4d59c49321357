"""A file of frames: written in any order, resumed after a kill, checked against free space."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..common.errors import InputError
from ..common.files import write_atomically

_SECONDS_BETWEEN_MARKS = 30.0
"""Seconds of work that a killed process can lose."""


def open_frames(path: Path, identity: dict[str, Any]) -> np.ndarray | None:
    """Map the frames of `identity`, or return None where they are not there or not whole."""
    size = int(np.prod(identity["shape"]))
    try:
        if json.loads(path.with_suffix(".json").read_text("utf-8")) != identity:
            return None
        if path.stat().st_size != 2 * size:
            return None
        return np.memmap(path, dtype=np.float16, mode="r", shape=(size,))
    except (OSError, ValueError):
        return None


def check_space(path: Path, needed: int, utterances: int) -> None:
    """Raise `InputError` where `needed` bytes do not fit beside `path`."""
    partial = path.with_suffix(".partial")
    there = partial.stat().st_blocks * 512 if partial.is_file() else 0
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
        self.done = self._read_mark()
        """Utterances that were put there before, in the order of writing."""
        self._file = open(self._partial, "r+b" if self.done else "w+b")  # noqa: SIM115
        self._marked_at = time.monotonic()
        layers, _, width = identity["shape"]
        self._frame_bytes = layers * width * 2

    def put(self, row: int, frames: Tensor) -> None:
        """Write one utterance, [layers + 1, frames, width]."""
        with self._one_line():
            self._file.seek(self._starts[row] * self._frame_bytes)
            self._file.write(frames.contiguous().numpy().tobytes())
        self.done += 1

    def mark(self) -> None:
        """Record, every 30 seconds, that everything so far is on disk."""
        if time.monotonic() - self._marked_at < _SECONDS_BETWEEN_MARKS:
            return
        self._sync()
        write_atomically(self._mark, json.dumps({**self._identity, "done": self.done}))
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
        write_atomically(self._path.with_suffix(".json"), json.dumps(identity, indent=2) + "\n")

    def _sync(self) -> None:
        with self._one_line():
            self._file.flush()
            os.fsync(self._file.fileno())

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn what the system says about writing, a full disk above all, into an `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._path}: {error.strerror}; make room there and start again: it resumes "
                "where it stopped"
            ) from error

    def _read_mark(self) -> int:
        try:
            mark = json.loads(self._mark.read_text("utf-8"))
        except (OSError, ValueError):
            return 0
        same = {**mark, "done": 0} == {**self._identity, "done": 0} and self._partial.is_file()
        return int(mark["done"]) if same else 0
