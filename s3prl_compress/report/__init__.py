"""Reports: typed rows from records, tables of them, and the leaderboard in four formats.

Other packages use `report`, and these modules: `comparison` (two upstreams on one task),
`four_task` (published scores), `leaderboard` (rows from records), `notes`, `publish` (the files of
a report), `rows`, `summary` (what `score` prints) and `uncertainty_notes`.
"""

from __future__ import annotations

from pathlib import Path

from ..common.extras import require_extra


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write leaderboard.{md,csv,tex,html} from the records below `folder`; see `publish.report`."""
    require_extra("report", "a report")
    from .publish import report as publish  # pandas and jinja2 take seconds to import

    return publish(folder, output)
