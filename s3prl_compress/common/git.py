"""The state of the git checkout that this package runs from, for records and checkpoints."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_state() -> tuple[str | None, bool | None]:
    """Return the commit, and whether there are uncommitted changes.

    Both are None if this package is not under version control, even if its environment is inside a
    checkout of another project.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
