"""A metric is one object: once registered, a report counts, orders and tests by it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy import stats

from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.rows import Row
from s3prl_compress.report.table_model import Table
from s3prl_compress.report.task_table import score_tables
from s3prl_compress.report.uncertainty import UNKNOWN_METRIC
from s3prl_compress.results.records import ScoreRecord
from s3prl_compress.statistics import metric, register_metric

from ..support.made_up import score, upstream, write_predictions
from .slot_error_rate import SlotErrorRate

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("low_rank(keep=0.5)",))
TRUTH = [f"slot-{number % 5} slot-{number % 3}" for number in range(120)]


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the example, which is registered on import, and afterwards what a test registers."""
    known = {name: one for name, one in metric._metrics.items() if name != SlotErrorRate.name}
    monkeypatch.setattr(metric, "_metrics", known)


def _board(folder: Path, **more: Any) -> list[ScoreRecord]:
    """Dense and a smaller upstream with three seeds each: 12 and some 60 wrong slots of 240."""
    records = []
    for who, wrong in ((DENSE, (12, 14, 10)), (SMALL, (60, 63, 58))):
        for seed, count in enumerate(wrong):
            predicted = [
                f"wrong {text.split()[1]}" if place < count else text
                for place, text in enumerate(TRUTH)
            ]
            file = write_predictions(folder, f"{who.name}{seed}.csv", TRUTH, predicted)
            values: dict[str, Any] = {
                "task": "slots",
                "metric": "slot error rate (percent)",
                "higher_is_better": False,
                "chance": None,
                "seed": seed,
                "predictions": str(folder / file),
                **more,
            }
            records.append(score(who, 100 * count / 240, **values))
    return records


def _table(records: list[ScoreRecord]) -> Table[Row]:
    (table,) = score_tables(leaderboard(records))
    return table


def test_a_registered_metric_has_a_leaderboard_of_its_own(tmp_path: Path) -> None:
    register_metric(SlotErrorRate())
    table = _table(_board(tmp_path))
    dense, small = table.rows
    assert (dense.upstream, dense.score) == ("dense", pytest.approx(5))
    assert "slot error rate (percent), lower is better" in table.facts
    difference = small.significance
    assert difference.difference == pytest.approx(100 * (181 - 36) / 720)
    assert difference.p_test == "t test with seeds and utterances as crossed random effects"
    assert difference.significant
    line = next(line for line in table.lines if line.row is small)
    keys = [column.key for column in table.columns]
    assert line.cells[keys.index("difference")].verdict == "worse"
    assert not table.columns[keys.index("score")].best_high


def test_without_training_it_has_the_t_test_and_not_that_of_words(tmp_path: Path) -> None:
    register_metric(SlotErrorRate())
    board = _board(tmp_path, learning_rate=None)
    records = [one.model_copy(update={"seed": None}) for one in board if one.seed == 0]
    small = _table(records).rows[1]
    # Each of the 48 utterances between 12 and 60 has one more wrong slot, of 240.
    each = numpy.array([0.0] * 12 + [100 / 2] * 48 + [0.0] * 60)
    assert small.significance.difference == pytest.approx(each.mean())
    assert small.significance.difference_error == pytest.approx(stats.sem(each))
    assert small.significance.p_test == "t test over utterances"
    assert small.significance.p_value == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert small.significance.p_segments is None


def test_a_records_interval_stays_within_the_metrics_range() -> None:
    for name, score_of_all, ends in (
        ("slot error rate (percent)", 99.9, (98.3, 100.0)),
        ("WER (percent)", 99.9, (98.3, 101.5)),
        ("WER (percent)", 0.1, (0.0, 1.7)),
        ("unknown (percent)", 0.1, (-1.5, 1.7)),
    ):
        register_metric(SlotErrorRate())
        (row,) = leaderboard([score(DENSE, score_of_all, metric=name, higher_is_better=False)])
        assert (row.score_low, row.score_high) == pytest.approx(ends, abs=0.04)


def test_records_of_an_unknown_metric_are_shown_and_not_tested(tmp_path: Path) -> None:
    table = _table(_board(tmp_path))
    small = table.rows[1]
    assert UNKNOWN_METRIC in table.notes
    assert small.significance.difference == pytest.approx(100 * (181 - 36) / 720)
    assert small.significance.p_value is None
    assert small.standard_error == pytest.approx(
        math.hypot(0.8, stats.sem([100 * count / 240 for count in (60, 63, 58)]))
    )
