"""Records, and the tables and pages that are made of them."""

from __future__ import annotations

from pathlib import Path


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write leaderboard.{md,csv,tex,html} from the records below `folder`; see `publish.report`."""
    from .publish import report as publish  # tables and plots cost seconds to import

    return publish(folder, output)
