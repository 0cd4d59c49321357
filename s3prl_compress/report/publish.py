"""`report`: a folder of records becomes a leaderboard in four formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import InputError
from ..common.files import write_atomically
from ..results.records import Record, TimeRecord, read_records
from ..results.versions import newest_versions
from . import four_task
from .csv_file import csv
from .latex import latex
from .layer_weights import layer_weight_figures, layer_weights_table
from .leaderboard import leaderboard
from .markdown import markdown
from .overview import OverviewGroup, groups
from .page import page
from .provenance import origins
from .published import published_table
from .speed import speed_tables
from .speed_table import speed_table
from .table_model import Table
from .task_table import score_tables


@dataclass(frozen=True)
class Report:
    """The files of a report, and figures that are not in the tables."""

    files: list[Path]
    """leaderboard.md, .csv, .tex and .html, in this order."""
    layer_weights: list[dict[str, Any]]
    """See `layer_weights.layer_weight_figures`."""


def report(folder: str | Path, output: str | Path | None = None) -> list[Path]:
    """Write the leaderboard, and return its files' paths; see `write_report`."""
    return write_report(folder, output).files


def write_report(folder: str | Path, output: str | Path | None = None) -> Report:
    """Write leaderboard.md, .csv, .tex and .html.

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
    weights = layer_weights_table(rows) if scored else None
    others = published_table() if scored else None
    tables: list[Table[Any]] = [*scored, *fast, *([others] if others else [])]
    explained = [*scored, *([weights] if weights else []), *tables[len(scored) :]]
    unlike = four_task.warning(
        row for group in sections for table in group.tables for row in table.rows
    )
    warning = " ".join(filter(None, (unlike, left_out))) or None
    places = origins(records)
    contents = {
        "leaderboard.md": markdown(explained, places, warning),
        "leaderboard.csv": csv(rows, speeds),
        "leaderboard.tex": latex(tables, places, warning),
        "leaderboard.html": page(sections, fast, others, places, left_out, weights),
    }
    target = folder if output is None else Path(output)
    for name, text in contents.items():
        write_atomically(target / name, text)
    figures = layer_weight_figures(rows) if scored else []
    return Report([target / name for name in contents], figures)


def _with_predictions(path: Path, record: Record) -> Record:
    """Let a record name its predictions by their whole path."""
    if isinstance(record, TimeRecord):
        return record
    return record.model_copy(update={"predictions": str(path.parent / record.predictions)})


def _in_order(group: OverviewGroup) -> list[Table[Any]]:
    return [*([group.overview] if group.overview else []), *group.tables]
