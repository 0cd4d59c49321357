from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from s3prl_compress.report import report
from s3prl_compress.report.leaderboard import leaderboard
from s3prl_compress.report.task_table import score_tables
from s3prl_compress.report.uncertainty import (
    DENSE_WITHOUT_PREDICTIONS,
    NO_PREDICTIONS,
    OTHER_UTTERANCES,
)
from s3prl_compress.results.records import ScoreRecord, Upstream
from s3prl_compress.statistics.mapsswe import matched_pairs, segment_differences

from ..support.made_up import score, upstream, write_predictions, write_record

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("low_rank(keep=0.5)",))
TINY = upstream("tiny", 0.2, ("low_rank(keep=0.2)",))
TRUTH = ["a"] * 60
WORD_ERRORS: dict[str, Any] = {"metric": "WER (percent)", "higher_is_better": False}
MANY = [str(number % 10) for number in range(60)]
FEW = [str(number % 3) for number in range(60)]


def _predictions(
    folder: Path, name: str, wrong: range, truth: list[str] = TRUTH, speakers: Any = ()
) -> dict[str, Any]:
    predicted = ["b" if number in wrong else text for number, text in enumerate(truth)]
    name = write_predictions(folder, name, truth, predicted, speakers)
    return {"predictions": str(folder / name)}


def _rows(*records: Any) -> dict[str, dict[str, Any]]:
    return {row.upstream: row.figures() for row in leaderboard(records)}


def _records_of(
    folder: Path, who: Upstream, wrong: dict[int, int], speakers: Any = ()
) -> list[ScoreRecord]:
    """One record per seed, with that many wrong answers among 60."""
    return [
        score(
            who,
            100 * (60 - count) / 60,
            seed=seed,
            **_predictions(folder, f"{who.name}{seed}.csv", range(count), speakers=speakers),
        )
        for seed, count in wrong.items()
    ]


def _notes(*records: Any) -> str:
    (table,) = score_tables(leaderboard(records))
    return " ".join(table.notes)


def _board(folder: Path, speakers: Any = ()) -> list[ScoreRecord]:
    return [
        *_records_of(folder, DENSE, {0: 6, 1: 7, 2: 5, 3: 6}, speakers),
        *_records_of(folder, SMALL, {0: 8, 1: 6, 2: 5, 3: 9}, speakers),
        *_records_of(folder, TINY, {0: 45, 1: 44, 2: 46, 3: 45}, speakers),
    ]


def test_one_analysis_gives_difference_interval_p_and_star(tmp_path: Path) -> None:
    rows = _rows(*_board(tmp_path))
    small, tiny = rows["small"], rows["tiny"]
    for row in (small, tiny):
        half = stats.t.isf(0.025, row["degrees_of_freedom"]) * row["difference_error"]
        assert row["difference_low"] == pytest.approx(row["difference"] - half)
        assert row["difference_high"] == pytest.approx(row["difference"] + half)
        t = abs(row["difference"]) / row["difference_error"]
        assert row["p_value"] == pytest.approx(2 * stats.t.sf(t, row["degrees_of_freedom"]))
    assert small["difference"] == pytest.approx(-100 * 4 / 240)
    # Holm: the smaller of two is doubled, the larger stays.
    assert tiny["p_corrected"] == pytest.approx(2 * tiny["p_value"])
    assert small["p_corrected"] == pytest.approx(small["p_value"])
    assert (small["significant"], tiny["significant"]) == (False, True)
    assert (small["resolution"], tiny["resolution"]) == ("not resolved", "significant")
    assert abs(small["difference"]) < small["detectable"]
    assert rows["dense"]["p_test"] is None
    assert rows["dense"]["resolution"] == ""


def test_a_scores_error_is_over_seeds_and_test_items(tmp_path: Path) -> None:
    same = _rows(*_records_of(tmp_path, DENSE, dict.fromkeys(range(4), 15)))["dense"]
    apart = _rows(*_records_of(tmp_path, DENSE, {0: 5, 1: 25, 2: 10, 3: 20}))["dense"]
    assert same["standard_error"] == pytest.approx(100 * np.sqrt(0.75 * 0.25 / 59), rel=0.02)
    # The seeds' own error and that of the utterances, without what both contain.
    assert apart["standard_error"] > np.std([5, 25, 10, 20], ddof=1) * 100 / 60 / 2
    assert apart["score_low"] < apart["score"] < apart["score_high"]


@pytest.mark.parametrize(
    ("speakers", "units", "said"),
    [
        (MANY, "10 speakers", "over 4 seeds and 10 speakers."),
        (FEW, "60 utterances of 3 speakers", "conditional on these 3 speakers: fewer than 7"),
        ((), "60 utterances", "the predictions do not say who speaks"),
    ],
)
def test_tables_say_what_errors_are_over(
    tmp_path: Path, speakers: Any, units: str, said: str
) -> None:
    records = [record.model_copy(update={"test_size": 60}) for record in _board(tmp_path, speakers)]
    assert {row["error_units"] for row in _rows(*records).values()} == {units}
    assert said in _notes(*records)


def test_a_block_states_its_power_and_what_is_not_resolved(tmp_path: Path) -> None:
    notes = _notes(*_board(tmp_path, MANY))
    assert "(power 80 %, two-sided test at 0.05 after correction for 2 rows)" in notes
    assert "Not resolved, which is not evidence of no loss: small." in notes
    assert "p: t test with seeds and speakers as crossed random effects, two-sided" in notes
    assert "on the 4 seeds that both have" in notes


def test_a_speaker_whom_one_file_names_is_known_for_all(tmp_path: Path) -> None:
    rows = _rows(
        *_records_of(tmp_path, DENSE, {0: 6, 1: 7}, MANY),
        *_records_of(tmp_path, SMALL, {0: 8, 1: 6}),
    )
    assert rows["small"]["error_units"] == "10 speakers"


def test_one_seed_is_no_test_and_no_star(tmp_path: Path) -> None:
    records = [
        *_records_of(tmp_path, DENSE, {0: 6, 1: 7}),
        *_records_of(tmp_path, SMALL, {0: 50}),
    ]
    row = _rows(*records)["small"]
    assert row["difference"] == pytest.approx(-100 * 44 / 60)
    assert (row["p_value"], row["significant"], row["difference_low"]) == (None, None, None)
    assert row["resolution"] == "one seed"
    (table,) = score_tables(leaderboard(records))
    keys = [column.key for column in table.columns]
    line = next(line for line in table.lines if line.row.upstream == "small")
    assert line.cells[keys.index("p_value")].text == "one seed"
    notes = " ".join(table.notes)
    assert "Not tested, because the row or dense has a single seed: small." in notes
    assert "conditional on its head" in notes


def test_without_common_seeds_they_are_two_samples(tmp_path: Path) -> None:
    dense, small = {0: 6, 1: 9, 2: 7}, {5: 8, 6: 15, 7: 12, 8: 13}
    row = _rows(*_records_of(tmp_path, DENSE, dense), *_records_of(tmp_path, SMALL, small))["small"]
    assert row["p_seeds"] == "4 + 3"
    assert row["difference"] == pytest.approx(100 * (22 / 3 - 48 / 4) / 60)
    welch = stats.ttest_ind(list(small.values()), list(dense.values()), equal_var=False)
    assert row["degrees_of_freedom"] >= welch.df - 1e-9


def test_a_difference_lies_in_its_interval_where_dense_has_more_seeds(tmp_path: Path) -> None:
    dense = {seed: 10 + seed % 2 if seed in (2, 3) else 25 for seed in range(12)}
    rows = _rows(
        *_records_of(tmp_path, DENSE, dense), *_records_of(tmp_path, SMALL, {2: 16, 3: 16})
    )
    small = rows["small"]
    assert small["difference"] == pytest.approx(-100 * 5.5 / 60)
    assert small["p_seeds"] == "2"
    assert small["difference_low"] <= small["difference"] <= small["difference_high"]


_SEEDS = st.dictionaries(st.integers(0, 4), st.integers(0, 59), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(dense=_SEEDS, small=_SEEDS)
def test_a_difference_always_lies_in_its_interval(
    tmp_path_factory: pytest.TempPathFactory, dense: dict[int, int], small: dict[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("seeds")
    rows = _rows(*_records_of(folder, DENSE, dense), *_records_of(folder, SMALL, small))
    row = rows["small"]
    if row["difference_low"] is None:
        assert row["resolution"] == "one seed"
        assert min(len(dense), len(small)) == 1
    else:
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_own_heads_are_compared_in_words_by_mapsswe(tmp_path: Path) -> None:
    truth = ["one two three four five"] * 30
    predicted = ["one two three four"] * 20 + truth[20:]
    same = {"task": "ctc", **WORD_ERRORS, "seed": None, "learning_rate": None}
    small = write_predictions(tmp_path, "small.csv", truth, predicted)
    dense = write_predictions(tmp_path, "dense.csv", truth, truth)
    rows = _rows(
        score(DENSE, 0.0, predictions=str(tmp_path / dense), **same),
        score(SMALL, 13.3, predictions=str(tmp_path / small), **same),
    )
    row, expected = rows["small"], matched_pairs(segment_differences(truth, predicted, truth))
    assert (row["p_test"], row["p_value"], row["p_segments"]) == ("MAPSSWE", expected, 20)
    assert 0 < row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["difference"] == pytest.approx(100 * 20 / 150)
    assert any("20 segments, fewer than 50" in note for note in row["notes"])


def test_trained_recognisers_are_tested_over_seeds(tmp_path: Path) -> None:
    truth = ["one two three four five"] * 30
    records = []
    for seed, (few, many) in enumerate([(2, 20), (3, 22), (1, 19)]):
        for who, count in ((DENSE, few), (SMALL, many)):
            predicted = ["one two three four"] * count + truth[count:]
            name = write_predictions(tmp_path, f"{who.name}{seed}.csv", truth, predicted)
            records.append(
                score(
                    who,
                    100 * count / 150,
                    task="asr",
                    **WORD_ERRORS,
                    seed=seed,
                    predictions=str(tmp_path / name),
                )
            )
    row = _rows(*records)["small"]
    assert row["p_test"] == "t test with seeds and utterances as crossed random effects"
    assert row["difference"] == pytest.approx(100 * 55 / 450)
    assert row["significant"]


@pytest.mark.parametrize(
    ("dense", "note"),
    [
        ({"predictions": "nowhere.csv"}, DENSE_WITHOUT_PREDICTIONS),
        ({"truth": ["c"] * 60}, OTHER_UTTERANCES),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path: Path, dense: dict[str, Any], note: str) -> None:
    values = _predictions(tmp_path, "d.csv", range(0), dense.pop("truth", TRUTH)) | dense
    rows = _rows(
        score(DENSE, 99.0, **values),
        score(SMALL, 85.0, **_predictions(tmp_path, "s.csv", range(9))),
    )
    assert note in rows["small"]["notes"]
    assert rows["small"]["p_value"] is None
    assert rows["small"]["significant"] is None
    assert rows["small"]["difference"] == pytest.approx(-14)


def test_a_file_that_is_no_table_is_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "torn.csv").write_text("file,truth\n1,a\n")
    rows = _rows(
        score(DENSE, 99.0, **_predictions(tmp_path, "d.csv", range(0))),
        score(SMALL, 85.0, predictions=str(tmp_path / "torn.csv")),
    )
    assert NO_PREDICTIONS in rows["small"]["notes"]
    assert rows["small"]["standard_error"] == pytest.approx(0.8)


def test_every_format_carries_the_errors(tmp_path: Path) -> None:
    for number, record in enumerate(_board(tmp_path, MANY)):
        name = Path(record.predictions).name
        update = {"predictions": name, "test_size": 60}
        write_record(record.model_copy(update=update), tmp_path, f"record-{number}")
    texts = {path.suffix: path.read_text(encoding="utf-8") for path in report(tmp_path)}
    for suffix in (".md", ".html", ".tex"):
        assert "over 4 seeds and 10 speakers" in texts[suffix]
        assert "Not resolved" in texts[suffix]
    frame = pandas.read_csv(tmp_path / "leaderboard.csv").set_index("upstream")
    assert frame.loc["small", "resolution"] == "not resolved"
    assert frame.loc["small", "error_units"] == "10 speakers"
    assert frame.loc["small", "detectable"] > 0
    assert "seed_scores" not in frame
