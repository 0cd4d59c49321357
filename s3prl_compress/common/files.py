"""Atomic writes of files and folders (completely or not at all), hashes, and a lock."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

_ROOM = "make room there and run the same command again"
_PLACE = "choose a folder that can be written, or change its permissions"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run the same command again",
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
}
"""What to do about the system's errors that say that a file cannot be written."""
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Those that reading a file never meets."""


def sha256(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated files, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` (text as UTF-8), and wait until it is on disk."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    with file_atomically(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def file_atomically(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, which replaces `path` if the block succeeds.

    If the block raises, the temporary file is removed and `path` stays as it was. A killed process
    leaves the temporary file behind; its name is `.<name of path>.<eight characters>`.

    Raises:
        InputError: see `writing`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        with writing(path):
            yield temporary
        # Temporary files are private; the result has the usual permissions.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, which replaces `path` if the block succeeds.

    The caller must check beforehand that an existing `path` may be replaced.

    Raises:
        InputError: see `writing`.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with writing(path):
            yield temporary
        # All of it is private until here, safetensors' files too; others must be able to read it.
        for part in (temporary, *temporary.rglob("*")):
            os.chmod(part, (0o777 if part.is_dir() else 0o666) & ~_umask())
        if path.exists():
            # A folder cannot be renamed onto another one that is not empty.
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            try:
                os.rename(path, old / path.name)
                os.rename(temporary, path)
            except BaseException:
                if not path.exists():
                    os.rename(old / path.name, path)
                old.rmdir()
                raise
            shutil.rmtree(old)
        else:
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write in the block into one line that names `path`.

    Libraries report a full disk in exceptions of their own, which are known by their words.

    Raises:
        InputError: the disk is full or read-only, or permissions or limits forbid to write.
    """
    try:
        yield
    except Exception as error:
        refusal = refusal_to_write(error, path)
        if refusal is None:
            raise
        raise refusal from error


def reserve(path: Path) -> None:
    """Take the disk space of a file that has been created with its final size, but without content.

    Writing to a file that is mapped into memory kills the process if the disk is full.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def refusal_to_write(error: Exception, path: Path | None = None) -> InputError | None:
    """Return the line for an error that says that a file cannot be written; None for others.

    Args:
        error: the system's or a library's.
        path: what was being written. None: only the error may name it.
    """
    if isinstance(error, InputError):
        return None
    place = path
    if isinstance(error, OSError):
        number = error.errno
        elsewhere = path is None or not str(error.filename).startswith(str(path.parent))
        if error.filename is not None and elsewhere:
            if number not in _OF_WRITING:
                return None
            place = Path(os.fsdecode(error.filename))
    else:
        words = (number for number in _OF_WRITING if os.strerror(number) in str(error))
        number = next(words, None)
    if number not in _REMEDIES:
        return None
    where = "output" if place is None else place
    reason = os.strerror(number)
    return InputError(f"{where}: cannot be written ({reason}); {_REMEDIES[number]}")


@contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Hold the lock file `path`; if another process holds it, print one line and wait.

    The operating system releases the lock when its holder dies.

    Args:
        path: the lock file, which remains afterwards. It must not be inside a folder that the
            holder removes.
        work: what the lock protects, for the message "another process is <work>".
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting: another process is {work}", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _umask() -> int:
    # The mask can only be read by setting it.
    current = os.umask(0)
    os.umask(current)
    return current
