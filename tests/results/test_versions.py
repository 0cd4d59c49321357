"""Scores of different engine versions: never in one mean, and the older ones left out by name."""

from __future__ import annotations

from pathlib import Path

import pandas

from s3prl_compress.report import report
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.task_table import score_tables
from s3prl_compress.results.records import TimeRecord, read_records
from s3prl_compress.results.versions import newest_versions

from ..support.made_up import score, timing, upstream, write_all

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("magnitude(sparsity=0.5)",))


def test_seeds_of_two_versions_have_no_common_mean() -> None:
    old = [score(DENSE, 60.0, seed=seed) for seed in (0, 1, 2)]
    new = [score(DENSE, 90.0, seed=seed, engine_version=2) for seed in (1, 2)]
    (row,) = leaderboard([*new, *old])
    assert (row.score, row.seeds, row.engine_version) == (90.0, "1, 2", 2)


def test_a_report_leaves_older_versions_out_and_says_so(tmp_path: Path) -> None:
    records = [
        score(DENSE, 60.0, seed=0),
        score(SMALL, 50.0, seed=0),
        score(DENSE, 90.0, seed=0, engine_version=2),
        score(DENSE, 70.0, task="sid"),  # no newer score has these conditions
        timing(SMALL, DENSE),
    ]
    write_all(tmp_path, list(records))
    report(tmp_path)
    frame = pandas.read_csv(tmp_path / "leaderboard.csv")
    scored = frame[frame["task"].notna()]
    assert sorted(zip(scored["task"], scored["score"], strict=True)) == [
        ("ks", 90.0),
        ("sid", 70.0),
    ]
    for name in ("leaderboard.md", "leaderboard.tex", "leaderboard.html"):
        text = " ".join((tmp_path / name).read_text("utf-8").split())
        assert "older engine versions are left out" in text, name
        assert "2 of onepass v1" in text, name


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    records = [score(DENSE, 60.0), score(SMALL, 50.0), timing(SMALL, DENSE)]
    kept, sentence = newest_versions(records)
    assert kept == records
    assert sentence is None


def test_a_table_names_the_version(tmp_path: Path) -> None:
    (table,) = score_tables(leaderboard([score(DENSE, 60.0, engine_version=7)]))
    assert "engine version 7" in table.facts


def test_times_stay(tmp_path: Path) -> None:
    records = [score(DENSE, 60.0), score(DENSE, 61.0, engine_version=2), timing(SMALL, DENSE)]
    write_all(tmp_path, list(records))
    kept, _ = newest_versions([record for _, record in read_records(tmp_path)])
    assert [isinstance(record, TimeRecord) for record in kept] == [False, True]
