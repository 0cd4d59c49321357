"""The git checkout that this package runs from: part of what every record and checkpoint says."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_state() -> tuple[str | None, bool | None]:
    """Return the commit, and whether there are changes beside it; None and None elsewhere.

    An environment that lies inside somebody else's checkout has no commit of ours.
    """
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD"), bool(_git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
