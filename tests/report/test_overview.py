from __future__ import annotations

import math
from pathlib import Path

import pytest

from s3prl_compress.report.four_task import four_task_score
from s3prl_compress.report.highlights import highlights
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.overview import OverviewGroup, groups
from s3prl_compress.report.task_table import score_tables
from s3prl_compress.results.records import Record, ScoreRecord, TimeRecord, read_records

from ..support.made_up import SHARES, a_suite, score, upstream


def _groups(records: list[Record]) -> list[OverviewGroup]:
    times = [record for record in records if isinstance(record, TimeRecord)]
    return groups(score_tables(leaderboard(records)), times)


def _records(folder: Path) -> list[Record]:
    found = []
    for path, record in read_records(folder):
        if isinstance(record, ScoreRecord):
            predictions = str(path.parent / record.predictions)
            record = record.model_copy(update={"predictions": predictions})
        found.append(record)
    return found


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("official")
    a_suite(folder)
    return _records(folder)


def test_four_official_tasks_have_the_4_task_score(official: list[Record]) -> None:
    (group,) = _groups(official)
    assert group.overview is not None
    assert [table.lines[0].row.task for table in group.tables] == ["ks", "sid", "er", "asr"]
    rows = {row.upstream: row for row in group.overview.rows}
    assert list(rows) == ["dense", "fold", "rank", "channels"]
    shares = dict.fromkeys(("ks", "sid", "er"), 100 * (1 - SHARES["rank"]))
    errors = {task: row.standard_error for task, row in rows["rank"].tasks.items()}
    expected = four_task_score({**shares, "asr": 100 * SHARES["rank"]}, errors)
    # Not those of the records: seeds and speakers are in them.
    assert all(error not in (0.0, 0.8) for error in errors.values())
    assert rows["rank"].metric == "4-task score"
    assert (rows["rank"].score, rows["rank"].standard_error) == pytest.approx(expected)
    assert rows["rank"].speed.speedup == 2.0
    assert any("never compare the two" in note for note in group.overview.notes)


def test_significance_shows_beside_each_task(official: list[Record]) -> None:
    (group,) = _groups(official)
    assert group.overview is not None
    keys = [column.key for column in group.overview.columns]
    for line in group.overview.lines:
        cell = line.cells[keys.index("task-ks")]
        if line.row.upstream == "channels":
            assert cell.verdict == "worse"
            assert cell.below.endswith("*")
        if line.row.upstream in ("dense", "fold"):
            assert cell.verdict == ""
            assert not cell.below.endswith("*")


@pytest.mark.parametrize("missing", ["smoke", "generated", "three tasks", "untuned SID"])
def test_no_4_task_score_for_anything_less(
    official: list[Record], tmp_path: Path, missing: str
) -> None:
    if missing == "three tasks":
        records = [r for r in official if isinstance(r, TimeRecord) or r.task != "er"]
    elif missing == "untuned SID":
        records = [
            r.model_copy(update={"rate_choice": "given"})
            if isinstance(r, ScoreRecord) and r.task == "sid"
            else r
            for r in official
        ]
    else:
        recipe = "smoke" if missing == "smoke" else "official"
        a_suite(tmp_path, recipe, generated=missing == "generated")
        records = _records(tmp_path)
    (group,) = _groups(records)
    assert group.overview is not None
    count = 3 if missing == "three tasks" else 4
    assert [row.metric for row in group.overview.rows] == [f"mean of {count} tasks"] * 4
    assert any("not comparable with published" in note for note in group.overview.notes)
    dense = group.overview.rows[0]
    assert dense.score == pytest.approx(98.0)  # 100 less the word error rate
    errors = [row.standard_error for row in dense.tasks.values()]
    assert dense.standard_error == pytest.approx(math.hypot(*errors) / count)


def test_a_row_that_lacks_a_task_has_no_mean() -> None:
    whole, part = upstream("whole"), upstream("part", 0.5, ("m(a=1)",))
    records: list[Record] = [score(whole, 90.0), score(whole, 60.0, task="sid"), score(part, 80.0)]
    (group,) = _groups(records)
    assert group.overview is not None
    assert [row.score for row in group.overview.rows] == [75.0, None]


def test_engines_paddings_and_recipes_never_share_a_group() -> None:
    who = upstream("who")
    records: list[Record] = [
        score(who, 90.0),
        score(who, 60.0, task="sid", engine="s3prl"),
        score(who, 60.0, task="sid", padding="fairseq"),
        score(who, 60.0, task="sid", recipe="smoke"),
    ]
    found = _groups(records)
    assert len(found) == 4
    assert all(group.overview is None for group in found)


@pytest.mark.parametrize(("variant", "mean"), [("official", 75.0), ("letters", 55.0)])
def test_of_two_blocks_of_a_task_the_official_or_the_larger_stands_in_the_overview(
    variant: str, mean: float
) -> None:
    who, small = upstream("who"), upstream("small", 0.5, ("m(a=1)",))
    records: list[Record] = [
        score(who, 90.0, variant=variant),
        score(who, 50.0, variant="digits"),
        score(small, 40.0, variant="digits"),
        score(who, 60.0, task="sid"),
    ]
    (group,) = _groups(records)
    assert group.overview is not None
    assert group.overview.rows[0].score == pytest.approx(mean)
    assert sorted(len(table.lines) for table in group.tables) == [1, 1, 2]


def test_highlights_never_call_a_significant_loss_none(official: list[Record]) -> None:
    (group,) = _groups(official)
    found = {one.label: one for one in highlights(group)}
    smallest = found["Smallest row not resolved from dense"]
    assert smallest.upstream == "fold"
    assert "smallest detectable difference: KS " in smallest.detail
    assert found["Fastest"].figure.startswith("2.00")
    assert found["Best score when compressed"].upstream == "fold"


def test_nothing_stands_out_among_the_dense_alone() -> None:
    (group,) = _groups([score(upstream("who"), 90.0)])
    assert highlights(group) == []


def test_untested_rows_are_not_called_lossless() -> None:
    records: list[Record] = [score(upstream("who"), 90.0), score(upstream("s", 0.5, ("m",)), 90.0)]
    (group,) = _groups(records)
    assert [one.label for one in highlights(group)] == ["Best score when compressed"]
