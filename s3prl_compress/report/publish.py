"""`report`: a folder of records becomes a leaderboard in four formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.files import write_atomically
from ..results.records import Record, TimeRecord, read_records
from ..results.versions import newest_versions
from . import four_task
from .csv_file import csv
from .latex import latex
from .leaderboard import leaderboard
from .markdown import markdown
from .overview import Group, groups
from .page import page
from .provenance import origins
from .published import published_table
from .speed import speed_tables
from .speed_table import speed_table
from .table_model import Table
from .task_table import score_tables


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write leaderboard.md, .csv, .tex and .html, and return their paths in this order.

    Scores of an engine version that newer ones have replaced are left out, and the report says so;
    see `versions.newest_versions`.

    Args:
        folder: Where `score --output` and `time --output` wrote; searched recursively.
        output: Folder for the four files; default: `folder` itself.

    Raises:
        InputError: There is no such folder, no record in it, or a broken one (which is named).
    """
    folder = Path(folder)
    records: list[Record] = [_with_predictions(path, one) for path, one in read_records(folder)]
    if not records:
        raise InputError(
            f"{folder}: no result records; first run "
            f"`s3prl-compress score MODEL --task ks --data DIR --output {folder}`"
        )
    records, left_out = newest_versions(records)
    rows = leaderboard(records)
    times = [record for record in records if isinstance(record, TimeRecord)]
    speeds = speed_tables(times)
    sections = groups(score_tables(rows), times)
    fast = [speed_table(identity, timed) for identity, timed in speeds]
    scored = [table for group in sections for table in _in_order(group)]
    others = published_table() if scored else None
    tables: list[Table[Any]] = [*scored, *fast, *([others] if others else [])]
    unlike = four_task.warning(
        row for group in sections for table in group.tables for row in table.rows
    )
    warning = " ".join(filter(None, (unlike, left_out))) or None
    places = origins(records)
    contents = {
        "leaderboard.md": markdown(tables, places, warning),
        "leaderboard.csv": csv(rows, speeds),
        "leaderboard.tex": latex(tables, places, warning),
        "leaderboard.html": page(sections, fast, others, places, left_out),
    }
    target = folder if output is None else Path(output)
    for name, text in contents.items():
        write_atomically(target / name, text)
    return [target / name for name in contents]


def _with_predictions(path: Path, record: Record) -> Record:
    """Let a record name its predictions by their whole path."""
    if isinstance(record, TimeRecord):
        return record
    return record.model_copy(update={"predictions": str(path.parent / record.predictions)})


def _in_order(group: Group) -> list[Table[Any]]:
    return [*([group.overview] if group.overview else []), *group.tables]
