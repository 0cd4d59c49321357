"""What killed processes were writing when they died: temporary files and folders beside the real.

They have the names that `files` and the features' cache give them, `.<name>.<eight characters>`.
"""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

_TEMPORARY = re.compile(r"^\..+\.[a-z0-9_]{8}$")
_OLD = 24 * 3600.0
"""Seconds without a change after which nobody is writing any more, on any machine."""


def remove_leftovers(folder: Path, older_than: float = _OLD) -> int:
    """Remove temporary files and folders below `folder`; return how many there were.

    Only those that were not changed for `older_than` seconds: jobs of a cluster may be writing.
    """
    found = 0
    before = time.time() - older_than
    for path in [path for path in folder.rglob(".*") if _TEMPORARY.match(path.name)]:
        with suppress(OSError):  # another process may remove it, too
            if _last_change(path) > before:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            found += 1
    return found


def _last_change(path: Path) -> float:
    within = path.rglob("*") if path.is_dir() else ()
    return max(part.stat().st_mtime for part in (path, *within))
