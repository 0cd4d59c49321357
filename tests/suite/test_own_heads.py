"""Suites with a task that trains no head: resumed, beside other tasks, and checked first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.training.ctc import add_head

from ..support.letters import write_letters

QUICK = Path(__file__).parent.parent / "quick.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"]).eval()
    add_head(encoder, ["ab cd"], seed=0)
    return save(encoder, tmp_path_factory.mktemp("model") / "tuned")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root


def suite(model: Path, letters: Path, output: Path) -> dict[str, Any]:
    pruned = {"from": "tuned", "method": "magnitude", "settings": {"sparsity": 0.2}}
    return {
        "output": str(output),
        "upstreams": [{"name": "tuned", "source": str(model)}, {"name": "pruned", **pruned}],
        "tasks": [
            {"task": "ctc", "data": str(letters / "test-clean")},
            {"task": "ctc", "data": str(letters / "dev-clean")},
        ],
        "device": "cpu",
        "threads": 1,
    }


def write(content: dict[str, Any], folder: Path) -> str:
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def test_it_runs_beside_a_task_that_trains_heads(
    model: Path,
    letters: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    in_process: None,
) -> None:
    content = suite(model, letters, tmp_path / "out")
    content["tasks"].append({"task": "ks", "data": str(tiny_corpus), "recipe": str(QUICK)})
    content["tasks"][-1]["upstreams"] = ["tuned"]
    path = write(content, tmp_path)
    assert cli.main(["run", path, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert "ctc test-clean pruned greedy" in planned
    assert "seed None" not in planned
    assert cli.main(["run", path]) == 0
    printed = capsys.readouterr()
    assert "ctc dev-clean pruned greedy\n" in printed.err
    assert "7 of 7 cells complete, 0 of them from earlier runs" in printed.out
    records = [record for _, record in read_records(tmp_path / "out/records")]
    scores = [record for record in records if isinstance(record, ScoreRecord)]
    found = sorted((one.task, one.upstream.name, one.corpus.name) for one in scores)
    sets = ("dev-clean", "test-clean")
    assert found[:4] == [("ctc", name, part) for name in ("pruned", "tuned") for part in sets]
    assert [one[:2] for one in found[4:]] == [("ks", "tuned")]
    table = pandas.read_csv(tmp_path / "out/leaderboard.csv")
    assert table.groupby("block")["task"].nunique().tolist() == [1, 1, 1]
    assert cli.main(["run", path, "--dry-run"]) == 0
    assert re.search(r"^ctc +greedy +4 +4 ", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["run", path]) == 0
    # A source is read again in every run.
    assert "7 of 7 cells complete, 6 of them from earlier runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"upstreams": [{"name": "plain", "random": {"shape": "hubert_tiny"}}]},
            "tasks: ctc: no CTC head in plain: fine-tune a model first (method: ctc); or score "
            "only the others (upstreams: [tuned, pruned])",
        ),
        ({"recipe": "official"}, "tasks: ctc: recipe: no head is trained; leave that out"),
        ({"seeds": [1]}, "tasks: ctc: seeds: no head is trained; leave that out"),
        (
            {"lm": {"file": "no.arpa"}},
            "tasks: ctc: lm: no.arpa: cannot be read as a language model (No such file or "
            "directory)",
        ),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_runs(
    model: Path,
    letters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    message: str,
) -> None:
    content = suite(model, letters, tmp_path / "out")
    more = dict(change)
    content["upstreams"] += more.pop("upstreams", [])
    content["tasks"][0] |= more
    assert cli.main(["run", write(content, tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]  # after progress bars
    assert line == f"error: {message}"
    assert not (tmp_path / "out").exists()


def test_a_language_model_adds_cells(
    model: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kenlm", reason="the extra lm is not installed")
    lm = tmp_path / "lm.arpa"
    assert cli.main(["ngram", "--data", str(letters), "--order", "2", "--output", str(lm)]) == 0
    content = suite(model, letters, tmp_path / "out")
    content["tasks"] = content["tasks"][:1]
    content["tasks"][0]["lm"] = {"file": str(lm), "beam": 10, "word_score": 0}
    path = write(content, tmp_path)
    assert cli.main(["run", path]) == 0
    assert "ctc pruned lm\n" in capsys.readouterr().err
    records = [record for _, record in read_records(tmp_path / "out/records")]
    found = [one for one in records if isinstance(one, ScoreRecord)]
    engines = [(one.upstream.name, one.engine) for one in found]
    assert engines == [(name, kind) for name in ("pruned", "tuned") for kind in ("greedy", "lm")]
    used = found[1].language_model
    assert used is not None
    assert (used.beam, used.word_score, len(used.grid)) == (10, 0.0, 6)
    assert cli.main(["run", path, "--dry-run"]) == 0
    assert re.search(r"^ctc +lm +2 +2 ", capsys.readouterr().out, re.MULTILINE)


def test_a_model_that_the_suite_fine_tunes_has_a_head(
    model: Path, letters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = suite(model, letters, tmp_path / "out")
    tuned = {"from": "plain", "method": "ctc", "settings": {"audio": str(letters), "steps": 1}}
    content["upstreams"] = [
        {"name": "plain", "random": {"shape": "hubert_tiny"}},
        {"name": "tuned", **tuned},
        content["upstreams"][1],
    ]
    for task in content["tasks"]:
        task["upstreams"] = ["tuned", "pruned"]
    path = write(content, tmp_path)
    assert cli.main(["run", path, "--dry-run"]) == 0
    assert "ctc test-clean tuned greedy" in capsys.readouterr().out
    content["tasks"][0]["upstreams"] = ["plain"]
    assert cli.main(["run", write(content, tmp_path), "--dry-run"]) == 2
    assert "no CTC head in plain: fine-tune a model first (method: ctc)\n" in (
        capsys.readouterr().err
    )
