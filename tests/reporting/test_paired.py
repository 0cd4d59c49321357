from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from s3prl_compress.reporting.leaderboard import leaderboard
from s3prl_compress.reporting.paired import NO_COMMON_SEED, NO_PREDICTIONS, OTHER_UTTERANCES
from s3prl_compress.reporting.records import ScoreRecord, Upstream
from s3prl_compress.reporting.view import without_nan
from s3prl_compress.scoring.significance import compare_words

from .made_up import score, upstream, write_predictions

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("low_rank(keep=0.5)",))
TINY = upstream("tiny", 0.2, ("low_rank(keep=0.2)",))
TRUTH = ["a"] * 60


def _predictions(folder: Path, name: str, wrong: range, truth: list[str] = TRUTH) -> dict[str, Any]:
    predicted = ["b" if number in wrong else text for number, text in enumerate(truth)]
    return {"predictions": str(folder / write_predictions(folder, name, truth, predicted))}


def _rows(*records: Any) -> dict[str, dict[str, Any]]:
    frame = leaderboard(records)
    return {row["upstream"]: without_nan(row) for row in frame.to_dict("records")}


def test_p_values_stand_beside_the_difference_and_are_corrected(tmp_path: Path) -> None:
    rows = _rows(
        score(DENSE, 96.7, **_predictions(tmp_path, "dense.csv", range(2))),
        score(SMALL, 86.7, **_predictions(tmp_path, "small.csv", range(1, 9))),
        score(TINY, 66.7, **_predictions(tmp_path, "tiny.csv", range(20))),
    )
    small, tiny = rows["small"], rows["tiny"]
    assert small["p_value"] == pytest.approx(mcnemar([[0, 7], [1, 0]]).pvalue)
    assert tiny["p_value"] == pytest.approx(mcnemar([[0, 18], [0, 0]]).pvalue)
    # Holm: the smaller of two is doubled, the larger stays.
    assert tiny["p_corrected"] == pytest.approx(2 * tiny["p_value"])
    assert small["p_corrected"] == pytest.approx(small["p_value"])
    assert (small["significant"], tiny["significant"]) == (False, True)
    assert small["difference_low"] < -10 < small["difference_high"]
    assert small["p_test"] == "exact McNemar"
    assert rows["dense"]["p_test"] is None


def test_recognisers_are_compared_in_words(tmp_path: Path) -> None:
    truth = ["one two three four five"] * 30
    predicted = ["one two three four"] * 20 + truth[20:]
    same = {"task": "asr", "higher_is_better": False}
    small = write_predictions(tmp_path, "small.csv", truth, predicted)
    dense = write_predictions(tmp_path, "dense.csv", truth, truth)
    rows = _rows(
        score(DENSE, 0.0, predictions=str(tmp_path / dense), **same),
        score(SMALL, 13.3, predictions=str(tmp_path / small), **same),
    )
    expected = compare_words(truth, [predicted], [truth])
    row = rows["small"]
    assert (row["p_test"], row["p_value"], row["p_units"]) == ("MAPSSWE", expected.p_value, 20)
    assert row["difference_low"] > 0
    assert any("20 segments, fewer than 50" in note for note in row["notes"])


def test_only_common_seeds_are_compared(tmp_path: Path) -> None:
    wrong, right = range(9), range(0)
    rows = _rows(
        score(DENSE, 99.0, seed=0, **_predictions(tmp_path, "d0.csv", right)),
        score(DENSE, 50.0, seed=1, **_predictions(tmp_path, "d1.csv", range(30))),
        score(SMALL, 85.0, seed=0, **_predictions(tmp_path, "s0.csv", wrong)),
    )
    assert rows["small"]["p_value"] == pytest.approx(mcnemar([[0, 9], [0, 0]]).pvalue)


def _records_of(folder: Path, who: Upstream, wrong: dict[int, int]) -> list[ScoreRecord]:
    """One record per seed, with that many wrong answers among 60."""
    return [
        score(
            who,
            100 * (60 - count) / 60,
            seed=seed,
            **_predictions(folder, f"{who.name}{seed}.csv", range(count)),
        )
        for seed, count in wrong.items()
    ]


def test_a_difference_lies_in_its_interval_where_dense_has_more_seeds(tmp_path: Path) -> None:
    dense = {seed: 10 if seed == 2 else 25 for seed in range(12)}
    rows = _rows(*_records_of(tmp_path, DENSE, dense), *_records_of(tmp_path, SMALL, {2: 16}))
    small = rows["small"]
    assert small["difference"] == pytest.approx(-10.0)
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
        assert not dense.keys() & small.keys()
    else:
        rounding = 1e-9
        assert row["difference_low"] - rounding <= row["difference"]
        assert row["difference"] <= row["difference_high"] + rounding


@pytest.mark.parametrize(
    ("dense", "note"),
    [
        ({"predictions": "nowhere.csv"}, NO_PREDICTIONS),
        ({"seed": 7}, NO_COMMON_SEED),
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
