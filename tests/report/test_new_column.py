"""A report column is one declaration: it appears in every format."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from s3prl_compress.report import report, task_table
from s3prl_compress.report.rows import Row
from s3prl_compress.report.table_model import Column

from ..support.made_up import a_board, write_all

BYTES_PER_PARAMETER: Column[Row] = Column(
    "bytes_per_parameter",
    "bytes each",
    "size on disk over the number of parameters",
    value=lambda row: row.bytes / row.parameters if row.bytes and row.parameters else None,
    text=lambda number: f"{number:.3f} B",
)


def test_a_declared_column_is_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (*task_table.COLUMNS, BYTES_PER_PARAMETER)
    monkeypatch.setattr(task_table, "COLUMNS", columns)
    texts = _report(tmp_path)
    frame = pandas.read_csv(tmp_path / "leaderboard.csv")
    assert frame["bytes_per_parameter"].tolist() == pytest.approx([4.0] * len(frame), abs=1e-6)
    ours = texts[".md"].split("## Speed")[0]
    assert ours.count(" bytes each |") == 2  # once in each block's head
    assert ours.count("| 4.000 B |") == len(frame)
    assert texts[".tex"].count("& bytes each") == 2
    assert texts[".tex"].count(r"& 4.000 B \\") == len(frame)
    assert texts[".html"].count('title="size on disk over the number of parameters"') == 2
    assert texts[".html"].count(">4.000 B</td>") == len(frame)


def test_a_column_may_be_left_out_of_papers_and_of_tables_that_do_not_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden: Column[Row] = Column("engine_version", "hidden", shown=lambda rows: False)
    page_only: Column[Row] = Column("seed_count", "page only", in_papers=False)
    monkeypatch.setattr(task_table, "COLUMNS", (*task_table.COLUMNS, hidden, page_only))
    texts = _report(tmp_path)
    assert all("hidden |" not in text and ">hidden<" not in text for text in texts.values())
    assert "page only |" in texts[".md"]
    assert ">page only</button>" in texts[".html"]
    assert "page only" not in texts[".tex"]


def _report(folder: Path) -> dict[str, str]:
    """Report a made-up board; return the files' texts by suffix."""
    write_all(folder, a_board())
    return {path.suffix: path.read_text(encoding="utf-8") for path in report(folder)}
