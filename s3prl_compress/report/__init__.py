"""Reports: typed rows from records, tables of them, and the leaderboard in four formats."""

from __future__ import annotations

from pathlib import Path


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write leaderboard.{md,csv,tex,html} from the records below `folder`; see `publish.report`."""
    from .publish import report as publish  # pandas and jinja2 take seconds to import

    return publish(folder, output)
