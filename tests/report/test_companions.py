"""Character errors beside word errors: tested in the same way, and first where words mislead."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pandas
import pytest
from statsmodels.stats.multitest import multipletests

from s3prl_compress.report import report
from s3prl_compress.results.records import NO_RECIPE, ScoreRecord, write_record
from s3prl_compress.statistics.mapsswe import matched_pairs, segment_differences
from s3prl_compress.statistics.metrics import CER, WER

from ..support.made_up import score, upstream, write_predictions

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
SPEAKERS = [f"speaker {number % 8}" for number in range(80)]


def heard(text: str, wrong: float, dropped: float, generator: random.Random) -> str:
    """Return a text with letters replaced, and with words left out."""
    words = []
    for word in text.split():
        if generator.random() >= dropped:
            letters = ["x" if generator.random() < wrong else letter for letter in word]
            words.append("".join(letters))
    return " ".join(words)


def board(folder: Path, models: dict[str, tuple[float, float]]) -> dict[str, list[str]]:
    """Write a record of every model, of its shares of wrong letters and dropped words."""
    generator = random.Random(0)
    truth = [" ".join(generator.choices(WORDS, k=6)) for _ in SPEAKERS]
    texts = {"truth": truth}
    for name, (wrong, dropped) in models.items():
        predicted = [heard(text, wrong, dropped, generator) for text in truth]
        texts[name] = predicted
        methods = () if name == "dense" else (f"magnitude(name={name})",)
        stem = f"{name}.ctc"
        write_predictions(folder, f"{stem}.csv", truth, predicted, SPEAKERS)
        write_record(record(name, methods, truth, predicted), folder, stem)
    return texts


def record(
    name: str, methods: tuple[str, ...], truth: list[str], predicted: list[str]
) -> ScoreRecord:
    values: dict[str, Any] = {
        "task": "ctc",
        "variant": "transcripts",
        "engine": "greedy",
        "seed": None,
        "recipe": NO_RECIPE,
        "settings": {"decoding": "greedy"},
        "metric": "WER (percent)",
        "higher_is_better": False,
        "learning_rate": None,
        "rates": (),
        "dev_score": None,
        "chance": None,
        "test_size": len(truth),
        "other_metrics": WER.other_metrics(truth, predicted),
        "edits": WER.edits(truth, predicted),
        "predictions": f"{name}.ctc.csv",
    }
    return score(upstream(name, 0.5, methods), WER.score(truth, predicted), **values)


def read(folder: Path) -> pandas.DataFrame:
    return pandas.read_csv(report(folder)[1]).set_index("upstream")


def test_words_lead_and_characters_are_tested_beside_them(tmp_path: Path) -> None:
    models = {"dense": (0.02, 0.0), "near": (0.03, 0.0), "far": (0.09, 0.0)}
    texts = board(tmp_path, models)
    table = read(tmp_path)
    truth, dense = texts["truth"], texts["dense"]
    assert set(table["metric"]) == {"WER (percent)"}
    assert set(table["companion_metric"]) == {"CER (percent)"}
    small = table.loc[["near", "far"]]
    for name, row in small.iterrows():
        own = texts[str(name)]
        assert row["score"] == pytest.approx(WER.score(truth, own))
        assert row["companion_score"] == pytest.approx(CER.score(truth, own)) == row["cer"]
        loss = CER.score(truth, own) - CER.score(truth, dense)
        assert row["companion_difference"] == pytest.approx(loss)
        assert row["companion_difference_low"] < loss < row["companion_difference_high"]
        words, characters = (
            matched_pairs(segment_differences(truth, own, dense, count))
            for count in ("words", "characters")
        )
        assert row["p_value"] == pytest.approx(words)
        assert row["companion_p_value"] == pytest.approx(characters)
        assert row["companion_detectable"] > 0
        rates = [row[kind] for kind in ("substitutions", "deletions", "insertions")]
        assert sum(rates) == pytest.approx(row["score"])
    holm = multipletests(small["companion_p_value"], method="holm")[1]
    assert small["companion_p_corrected"].tolist() == pytest.approx(holm.tolist())
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "CER: p: MAPSSWE (characters), two-sided" in text
    assert "CER: Smallest detectable difference" in text
    assert "leads this table" not in text


def test_characters_lead_where_the_dense_model_gets_most_words_wrong(tmp_path: Path) -> None:
    """A model that drops words makes fewer word errors than one that misspells all of them."""
    models = {"dense": (0.35, 0.0), "misspells": (0.38, 0.0), "drops": (0.35, 0.5)}
    texts = board(tmp_path, models)
    table = read(tmp_path)
    assert set(table["metric"]) == {"CER (percent)"}
    assert set(table["companion_metric"]) == {"WER (percent)"}
    assert list(table.index) == ["dense", "misspells", "drops"]
    for name, row in table.iterrows():
        own = texts[str(name)]
        assert row["score"] == pytest.approx(CER.score(texts["truth"], own))
        assert row["companion_score"] == pytest.approx(WER.score(texts["truth"], own))
    assert set(table["p_test"].dropna()) == {"MAPSSWE (characters)"}
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "CER leads this table" in text
    assert "WER: p: MAPSSWE, two-sided" in text
    page = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "CER (percent) (inverted)" in page


def test_without_predictions_the_order_stays_that_of_the_records(tmp_path: Path) -> None:
    board(tmp_path, {"dense": (0.35, 0.0), "small": (0.38, 0.0)})
    (tmp_path / "small.ctc.csv").unlink()
    table = read(tmp_path)
    assert set(table["metric"]) == {"WER (percent)"}
    assert pandas.isna(table.loc["small", "companion_score"])
    assert table.loc["small", "cer"] > 0
