"""`report`: a folder of records becomes a leaderboard in three formats."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..files import write_atomically
from .leaderboard import leaderboard
from .markdown import markdown
from .page import page
from .provenance import origins
from .records import TimeRecord, read_records
from .speed import speed_tables
from .tables import csv
from .view import score_tables, speed_table


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write leaderboard.md, leaderboard.csv and leaderboard.html, and return their paths.

    Args:
        folder: Where `score --output` and `time --output` wrote; searched through and through.
        output: Folder for the three files; default: `folder` itself.

    Raises:
        InputError: there is no such folder, no record in it, or a broken one (which is named).
    """
    folder = Path(folder)
    records = [record for _, record in read_records(folder)]
    if not records:
        raise InputError(
            f"{folder}: no result records; first run "
            f"`s3prl-compress score MODEL --task ks --data DIR --output {folder}`"
        )
    frame = leaderboard(records)
    speeds = speed_tables(record for record in records if isinstance(record, TimeRecord))
    tables = score_tables(frame)
    fast = [speed_table(identity, rows) for identity, rows in speeds]
    places = origins(records)
    contents = {
        "leaderboard.md": markdown([*tables, *fast], places),
        "leaderboard.csv": csv(frame, speeds),
        "leaderboard.html": page(tables, fast, places),
    }
    target = folder if output is None else Path(output)
    for name, text in contents.items():
        write_atomically(target / name, text)
    return [target / name for name in contents]
