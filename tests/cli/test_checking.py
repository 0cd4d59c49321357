"""`check`: exit codes, what it prints, and that it does nothing twice."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import named_shape, random_encoder, save
from s3prl_compress.evaluation import onepass
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters

QUICK = Path(__file__).parents[1] / "quick.yaml"
SEEDS = ("--seeds", "0-2")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dense model, and another one in the place of its compressed version."""
    folder = tmp_path_factory.mktemp("models")
    dense, small = (random_encoder(named_shape("hubert_tiny"), seed) for seed in (0, 1))
    return save(dense, folder / "dense"), save(small, folder / "small")


@pytest.fixture(scope="module")
def results(
    models: tuple[Path, Path], tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Records of both, with predictions of known quality; they are not made again."""
    folder = tmp_path_factory.mktemp("results")
    dense, small = models
    command = ("check", small, "--against", dense, "--data", tiny_corpus, "--recipe", QUICK)
    rest = (*SEEDS, "--margin", "99", "--output", folder, "--threads", "1")
    assert cli.main([*map(str, (*command, *rest))]) == 0
    for name, every in (("dense", 10), ("small", 4)):
        for path in folder.glob(f"{name}.*.csv"):
            _set_predictions(path, every)
    return folder


def _set_predictions(path: Path, every: int) -> None:
    """Make all predictions right but one of every so many."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows[1:]):
        row[2] = row[1] if number % every else "wrong"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(autouse=True)
def no_training(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*jobs: Any) -> None:
        raise AssertionError("a finished cell was trained again")

    monkeypatch.setattr(onepass, "run_seeds", refuse)


def _check(models: tuple[Path, Path], corpus: Path, results: Path, *flags: str) -> int:
    dense, small = models
    command = ("check", small, "--against", dense, "--data", corpus, "--recipe", QUICK)
    return cli.main([*map(str, (*command, *SEEDS, "--output", results)), *flags])


# 15 points are lost, with an error of some 6.
@pytest.mark.parametrize(
    ("flags", "code", "last"),
    [
        (("--margin", "40"), 0, "passed: the loss is below 40 points"),
        (("--margin", "1"), 1, "failed: the loss is above 1 point"),
        (("--margin", "16"), 3, "not resolved: "),
        (("--margin", "40", "--min-score", "50"), 0, "and the score is at least 50 %"),
        (("--margin", "40", "--min-score", "95"), 1, "failed: the score is below 95 %"),
        (("--margin", "40", "--min-score", "72"), 3, "not resolved: needs about "),
        (("--margin", "20"), 3, "not resolved: needs about "),
    ],
)
def test_exit_codes(
    models: tuple[Path, Path],
    tiny_corpus: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    code: int,
    last: str,
) -> None:
    assert _check(models, tiny_corpus, results, *flags) == code
    lines = capsys.readouterr().out.splitlines()
    assert any(last in line for line in lines)
    assert lines[0].startswith("ks accuracy in percent: small ")
    assert "loss: 15." in lines[1] or "loss: 14." in lines[1]
    assert any("over 3 seeds and 48 utterances, conditional on these" in line for line in lines)
    assert f"records: {results}" in lines
    assert lines[-1].startswith("next: ")


def test_json_holds_everything(
    models: tuple[Path, Path],
    tiny_corpus: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _check(models, tiny_corpus, results, "--margin", "20", "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["exit_code"]) == ("not resolved", 3)
    loss = found["loss"]
    assert loss["low"] < loss["value"] < loss["high"]
    assert loss["limit"] == 20
    assert loss["needs"]["utterances"] > 48
    assert found["score"]["limit"] is None
    assert found["seeds"] == [0, 1, 2]
    assert len(found["records"]) == 6
    assert all(Path(path).is_file() for path in found["records"])


def test_a_model_passes_against_itself(
    models: tuple[Path, Path], tiny_corpus: Path, results: Path
) -> None:
    dense, _ = models
    assert _check((dense, dense), tiny_corpus, results, "--margin", "0.001") == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--margin", "0"), "margin 0: must be a number of points above 0"),
        (("--margin", "-1"), "margin -1: must be"),
        (("--margin", "1e999"), "margin inf: must be"),
        (("--margin", "2", "--min-score", "101"), "min-score 101: must be a percentage"),
        (("--margin", "2", "--seeds", "4"), "seeds 4: a single seed does not show"),
        (("--margin", "2", "--task", "ctc"), "takes no seeds and no recipe"),
        (("--margin", "2", "--recipe", "no.yaml"), "no.yaml: cannot be read"),
        (("--margin", "2", "--against", "no-such-model"), "no-such-model"),
        (("--margin", "2", "--data", "no-such-folder"), "no-such-folder"),
        (("--margin", "2", "--data", "no-such.csv"), "no-such.csv"),
    ],
)
def test_invalid_input_is_one_line_and_writes_nothing(
    models: tuple[Path, Path],
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    message: str,
) -> None:
    output = tmp_path / "output"
    assert _check(models, tiny_corpus, output, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not output.exists()


def test_a_ctc_head_is_missing(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dense, small = map(str, models)
    command = ["check", small, "--against", dense, "--task", "ctc", "--data", "demo"]
    output = tmp_path / "output"
    assert cli.main([*command, "--margin", "2", "--output", str(output)]) == 2
    assert "has no CTC head" in capsys.readouterr().err
    assert not output.exists()


def test_a_ctc_head_is_tested_without_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors are over utterances alone, those of one speaker."""
    write_letters(tmp_path / "letters")
    for name, seed in (("dense", 0), ("small", 1)):
        encoder = random_encoder(named_shape("hubert_tiny"), seed).eval()
        add_head(encoder, ["ab cd"], seed=seed)
        save(encoder, tmp_path / name)
    small, dense = str(tmp_path / "small"), str(tmp_path / "dense")
    command = ["check", small, "--against", dense, "--task", "ctc", "--margin", "99999"]
    data = ["--data", str(tmp_path / "letters"), "--output", str(tmp_path / "results")]
    assert cli.main([*command, *data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seeds"], found["engine"], found["test_size"]) == ([], "greedy", 4)
    assert not found["higher_is_better"]
    # Random heads get nearly every word wrong.
    assert (found["metric"], found["companion"]["metric"]) == ("CER (percent)", "WER (percent)")
    assert found["companion"]["dense_score"] > 60
    lost = found["score"]["value"] - found["dense_score"]["value"]
    assert found["loss"]["value"] == pytest.approx(lost)
    assert cli.main([*command, *data]) == 0
    printed = capsys.readouterr().out
    assert "errors are over 4 utterances, conditional on this one" in printed
    assert re.search("^ctc WER in percent: .* CER is the better guide", printed, re.MULTILINE)
