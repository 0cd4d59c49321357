from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.common.errors import InputError
from s3prl_compress.report.comparison import Comparison, compare, larger_test_set
from s3prl_compress.results.records import ScoreRecord, Upstream

from ..support.made_up import score, upstream, write_predictions

DENSE = upstream("dense")
SMALL = upstream("small", 0.5, ("low_rank(keep=0.5)",))
MANY = [str(number % 20) for number in range(200)]
FEW = [str(number % 3) for number in range(200)]
WORDS = ["one two three four five"] * 200


def _records(folder: Path, who: Upstream, wrong: list[int], **more: Any) -> list[ScoreRecord]:
    """A record per seed, with that many wrong predictions: the hardest ones of 200 utterances."""
    speakers = more.pop("speakers", MANY)
    truth = more.pop("truth", ["a"] * 200)
    name = more.pop("name", who.name)
    records = []
    for seed, count in enumerate(wrong):
        wrongly = {number * 83 % 200 for number in range(count)}
        predicted = ["b" if place in wrongly else text for place, text in enumerate(truth)]
        file = write_predictions(folder, f"{name}{seed}.csv", truth, predicted, speakers)
        values = {"seed": seed, "predictions": file, "test_size": 200, **more}
        records.append(score(who, 100 - count / 2, **values))
    return records


def _compared(folder: Path, small: list[int], dense: list[int], **more: Any) -> Comparison:
    limits = {"margin": more.pop("margin", 5.0), "minimum": more.pop("minimum", None)}
    records = _records(folder, SMALL, small, **more)
    return compare(records, _records(folder, DENSE, dense, **more), folder, **limits)


@pytest.mark.parametrize(
    ("small", "verdict"),
    [([41, 42, 40], "passed"), ([90, 92, 91], "failed"), ([50, 54, 46], "not resolved")],
)
def test_a_loss_is_resolved_or_not(tmp_path: Path, small: list[int], verdict: str) -> None:
    found = _compared(tmp_path, small, [40, 42, 41])
    assert found.verdict == found.loss.verdict == verdict
    assert found.loss.value == pytest.approx((sum(small) - 123) / 6, abs=0.2)
    assert found.loss.low < found.loss.value < found.loss.high
    assert found.seeds == (0, 1, 2)


def test_a_loss_of_word_error_rate_is_an_increase(tmp_path: Path) -> None:
    words = {"truth": WORDS, "task": "asr", "higher_is_better": False, "metric": "WER (percent)"}
    found = _compared(tmp_path, [60, 61, 62], [20, 21, 20], margin=5.0, **words)
    assert found.loss.value == pytest.approx(20, abs=1)
    assert found.verdict == "failed"
    better = _compared(tmp_path, [20, 21, 20], [60, 61, 62], margin=5.0, **words)
    assert better.loss.value == pytest.approx(-20, abs=1)
    assert better.verdict == "passed"


def test_one_pair_suffices_where_nothing_is_trained(tmp_path: Path) -> None:
    same: dict[str, Any] = {
        "truth": WORDS,
        "task": "ctc",
        "seed": None,
        "higher_is_better": False,
        "metric": "WER (percent)",
    }
    found = _compared(tmp_path, [26], [20], margin=6.0, **same)
    assert found.seeds == ()
    assert (found.verdict, found.loss.value) == ("passed", pytest.approx(3))
    nearer = _compared(tmp_path, [26], [20], margin=4.0, **same)
    assert nearer.verdict == "not resolved"
    assert nearer.loss.seeds is None
    assert nearer.loss.units is not None


@pytest.mark.parametrize(("wrong", "metric"), [(20, "WER"), (150, "CER")])
def test_characters_are_judged_where_most_words_are_wrong(
    tmp_path: Path, wrong: int, metric: str
) -> None:
    """A model that writes less makes fewer insertions, and so may have the better WER."""
    same: dict[str, Any] = {
        "truth": WORDS,
        "task": "ctc",
        "seed": None,
        "higher_is_better": False,
        "metric": "WER (percent)",
    }
    found = _compared(tmp_path, [wrong + 6], [wrong], margin=6.0, **same)
    assert found.companion is not None
    names = [found.row.metric, found.companion.row.metric]
    assert names[0] == found.dense_row.metric == f"{metric} (percent)"
    assert sorted(names) == ["CER (percent)", "WER (percent)"]
    # A wrong text has no word and no character right, and so both lose as much.
    assert found.loss.value == pytest.approx(3)
    assert found.companion.loss.value == pytest.approx(3)


@pytest.mark.parametrize(
    ("minimum", "verdict"), [(60.0, "passed"), (80.0, "not resolved"), (95.0, "failed")]
)
def test_a_score_has_a_limit_of_its_own(tmp_path: Path, minimum: float, verdict: str) -> None:
    found = _compared(tmp_path, [41, 42, 40], [40, 42, 41], minimum=minimum)
    assert (found.loss.verdict, found.score.verdict) == ("passed", verdict)
    assert found.verdict == verdict
    assert 0 < found.score.low < 79.5 < found.score.high < 100


def test_an_error_rate_must_not_exceed_its_limit(tmp_path: Path) -> None:
    words = {"truth": WORDS, "task": "asr", "higher_is_better": False, "metric": "WER (percent)"}
    for maximum, verdict in ((30.0, "passed"), (10.0, "failed")):
        found = _compared(tmp_path, [41, 42, 40], [40, 42, 41], minimum=maximum, **words)
        assert found.score.verdict == verdict


def test_the_same_weights_lose_nothing(tmp_path: Path) -> None:
    records = _records(tmp_path, DENSE, [40, 50])
    other = _records(tmp_path, DENSE, [40, 50], name="copy")
    found = compare(records, other, tmp_path, margin=1e-6)
    assert (found.loss.low, found.loss.value, found.loss.high) == (0, 0, 0)
    assert found.verdict == "passed"


def test_a_larger_test_set_is_told_in_utterances_and_speakers(tmp_path: Path) -> None:
    assert larger_test_set(_compared(tmp_path, [41, 42], [40, 42]), 2.01) == (402, 41)
    few = _compared(tmp_path, [41, 42], [40, 42], speakers=FEW)
    assert larger_test_set(few, 2.01) == (402, None)


def test_predictions_of_other_utterances_are_refused(tmp_path: Path) -> None:
    records = _records(tmp_path, SMALL, [40, 41])
    other = _records(tmp_path, DENSE, [40, 41], truth=["c"] * 200)
    with pytest.raises(InputError, match="not of the same utterances"):
        compare(records, other, tmp_path, margin=1.0)
    (tmp_path / other[0].predictions).unlink()
    with pytest.raises(InputError, match="not of the same utterances"):
        compare(records, other, tmp_path, margin=1.0)
