"""SHA-256 of many files, remembered for as long as the files are unchanged.

Every score names the content of its corpus. Reading 150,000 recordings again for each of them takes
minutes, so hashes are kept in the user's cache folder, with the file's size, modification time and
inode. A random sample of the files that look unchanged is read nevertheless; if the content of one
of them has changed, all are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from .errors import InputError
from .files import sha256, write_atomically

VERIFY = "S3PRL_COMPRESS_VERIFY"
"""Environment variable: with the value 1, all files are read."""
FEWEST = 1000
"""Number of files from which hashes are remembered; fewer are read each time."""
SAMPLE = 100
"""Number of files that look unchanged and are read nevertheless."""
RECENT = 2.0
"""Seconds. A file that was modified this recently may be modified again without a new modification
time, so its hash is not remembered."""
_THREADS = 8

Entry = tuple[int, int, int, str]
"""Size, time of modification in nanoseconds, inode, and SHA-256 of a file."""


def read_all_files() -> None:
    """Make this process and its children read all files, whatever is remembered of them."""
    os.environ[VERIFY] = "1"


class HashedFiles:
    """The hashes of files, and whether the files still are what was hashed.

    A run reads its files after it has hashed them, for hours: what is written or kept under the
    hashes must have been made from these contents.

    Args:
        root: see `file_hashes`, as the other arguments and errors.
        files: their paths below `root`.
        description: of the progress bar.
    """

    def __init__(self, root: Path, files: Sequence[str], description: str) -> None:
        self._root, self.files = root, tuple(files)
        self._state = [_state(root / file) for file in files]  # before they are read
        self.hashes = file_hashes(root, files, description)
        """SHA-256 of the files, in their order."""

    def check_unchanged(self) -> None:
        """Compare the files with what was hashed; only those are read again that look changed.

        Raises:
            InputError: a file has another content, or is gone; the message names it.
        """
        for file, state, content in zip(self.files, self._state, self.hashes, strict=True):
            path = self._root / file
            if _state(path) != state and _hash(path) != content:
                raise InputError(
                    f"{path}: has changed while it was in use; run the same command again when it "
                    "no longer changes"
                )


def file_hashes(root: Path, files: Sequence[str], description: str) -> list[str]:
    """Return the SHA-256 of files, in their order.

    Args:
        root: folder of the files.
        files: their paths below `root`.
        description: of the progress bar, which is shown after two seconds.

    Raises:
        InputError: a file cannot be read.
    """
    if len(files) < FEWEST:
        return list(_read(root, files, description).values())
    store = _store(root)
    known = {} if os.environ.get(VERIFY) == "1" else _load(store)
    facts = {file: _facts(root / file) for file in files}
    same = [file for file in files if file in known and known[file][:3] == facts[file]]
    sample = random.SystemRandom().sample(same, min(SAMPLE, len(same)))
    changed = [
        file for file, own in _read(root, sample, description).items() if own != known[file][3]
    ]
    if changed:
        print(
            f"{root / changed[0]}: its content has changed, but not its size or modification "
            "time; all files are read again",
            file=sys.stderr,
        )
        same = []
    left = set(files) - set(same)
    now = time.time()
    hashes = {file: known[file][3] for file in same}
    hashes |= _read(root, [file for file in files if file in left], description)
    lasting = [file for file in left if facts[file][1] < (now - RECENT) * 1e9]
    if lasting:
        kept = {file: own for file, own in known.items() if file not in left}
        _save(store, kept | {file: (*facts[file], hashes[file]) for file in lasting})
    return [hashes[file] for file in files]


def _read(root: Path, files: Sequence[str], description: str) -> dict[str, str]:
    bar = tqdm(total=len(files), desc=description, unit="file", delay=2, leave=False)
    found = {}
    with ThreadPool(_THREADS) as pool, bar:
        hashes = pool.imap(_hash, [root / file for file in files], chunksize=16)
        for file, content in zip(files, hashes, strict=True):
            found[file] = content
            bar.update()
    return found


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _facts(path: Path) -> tuple[int, int, int]:
    return _state(path)[:3]


def _state(path: Path) -> tuple[int, int, int, int]:
    """Return size, time of modification, inode, and time of change, which no program can set."""
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns


def _store(root: Path) -> Path:
    """Return the file of a folder's hashes."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
    return Path(home) / "s3prl_compress" / "hashes" / f"{name}.json"


def _load(store: Path) -> dict[str, Entry]:
    """Return the remembered hashes; none if the store is missing or damaged."""
    try:
        digest, text = store.read_text(encoding="utf-8").split("\n", 1)
        if hashlib.sha256(text.encode()).hexdigest() != digest:
            return {}
        return {file: tuple(entry) for file, entry in json.loads(text).items()}
    except (OSError, ValueError):
        return {}


def _save(store: Path, known: Mapping[str, Entry]) -> None:
    text = json.dumps(known)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(store, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    except OSError:
        return  # without a cache folder to write to, they are read again next time
