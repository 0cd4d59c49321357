"""Remove stale temporary files and folders of killed processes.

Atomic writes and the feature cache name them `.<name>.<eight characters>`.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.[a-z0-9_]{8}$")
_STALE_AFTER = 24 * 3600.0
"""Seconds without a change after which a temporary file is considered abandoned."""


def remove_temporary_files(folder: Path, older_than: float = _STALE_AFTER) -> int:
    """Remove stale temporary files and folders below `folder`; return their number.

    Only paths unchanged for `older_than` seconds are removed: cluster jobs may still be writing to
    younger ones.
    """
    removed = 0
    newest = time.time() - older_than
    for path in [path for path in folder.rglob(".*") if _TEMPORARY.match(path.name)]:
        with suppress(OSError):  # another process may be removing it as well
            if _last_change(path) > newest:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            removed += 1
    return removed


def _last_change(path: Path) -> float:
    within = path.rglob("*") if path.is_dir() else ()
    return max(part.stat().st_mtime for part in (path, *within))
