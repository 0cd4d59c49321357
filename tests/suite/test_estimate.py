"""A dry run: what it lists, what it takes for granted, and that it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.suite import estimate, run_suite

QUICK = Path(__file__).parent.parent / "quick.yaml"


@pytest.fixture
def suite(tiny_corpus: Path, tmp_path: Path) -> Path:
    content: dict[str, Any] = {
        "output": str(tmp_path / "out"),
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "half", "from": "tiny", "method": "magnitude"},
        ],
        "tasks": [
            {"task": "ks", "data": str(tiny_corpus), "recipe": str(QUICK)},
            {"task": "ks", "data": "demo", "recipe": str(QUICK), "engines": ["onepass", "s3prl"]},
        ],
        "seeds": [0, 1],
        "time": {"against": "tiny"},
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def by_title(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells of the first task come first, and titles do not tell tasks of one name apart."""
    found: dict[str, dict[str, Any]] = {}
    for cell in figures["cells"]:
        found.setdefault(cell["cell"], cell)
    return found


def test_it_agrees_with_what_a_run_writes(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e9)
    cells = by_title(run_suite(suite, dry_run=True).figures)
    assert not (tmp_path / "out").exists()
    first, second = cells["ks tiny onepass seed 0"], cells["ks tiny onepass seed 1"]
    assert (first["basis"], first["done"]) == ("rule of thumb", False)
    # Seeds share features: only the first makes them.
    assert first["bytes"] > second["bytes"] == second["seconds"] == 0
    assert cells["time half"]["seconds"] > 0

    only = "ks tiny onepass seed 0"
    assert run_suite(suite, only=only).exit_code == 0
    sizes = sorted(path.stat().st_size for path in (tmp_path / "out").rglob("*.npy"))
    header = 128
    assert first["bytes"] in [size - header for size in sizes]

    cells = by_title(run_suite(suite, dry_run=True).figures)
    assert cells["upstream tiny"]["done"]
    assert cells["ks tiny onepass seed 0"]["done"]
    assert not cells["ks tiny onepass seed 1"]["done"]
    # The other upstream is taken to need what this one's record says.
    assert cells["ks half onepass seed 0"]["basis"] == "past records"

    # A record of several seeds says its seed's share, and the estimate is that of all of them.
    for path in (tmp_path / "out" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"seeds_together": 5}))
    again = by_title(run_suite(suite, dry_run=True).figures)
    assert again["ks half onepass seed 0"]["seconds"] == pytest.approx(
        5 * cells["ks half onepass seed 0"]["seconds"]
    )


def test_a_corpus_that_is_not_prepared_cannot_be_estimated(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e9)
    answer = run_suite(suite, dry_run=True, only="ks * s3prl *")
    scores = [cell for cell in answer.figures["cells"] if cell["cell"].startswith("ks")]
    assert len(scores) == 4
    assert {cell["basis"] for cell in scores} == {"the corpus is not prepared yet"}
    assert all(cell["seconds"] is None and cell["bytes"] > 0 for cell in scores)
    assert answer.figures["not_estimated"] == 4
    assert "4 of them could not be estimated" in answer.text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0 s"),
        (89, "89 s"),
        (90, "1.5 min"),
        (7200, "2.0 h"),
        (1e6, "11.6 days"),
    ],
)
def test_durations_as_a_person_says_them(seconds: float | None, words: str) -> None:
    assert estimate._duration(seconds) == words


def test_a_paper_table_is_estimated_before_its_corpora_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "_speed", lambda device: 1e12)
    source = {"name": "base", "random": {"shape": "hubert_base"}}
    tasks = [
        {
            "task": task,
            "data": f"corpora/{task}",
            "recipe": "official",
            "engines": ["onepass", "s3prl"],
        }
        for task in ("ks", "sid", "er", "asr")
    ]
    content = {"output": "out", "upstreams": [source], "tasks": tasks, "device": "cpu"}
    Path("suite.yaml").write_text(yaml.safe_dump(content))
    cells = by_title(run_suite("suite.yaml", dry_run=True).figures)
    assert "official corpus" in cells["asr base onepass seed 0"]["basis"]
    # The reference's own figures: 40 kB an utterance; a checkpoint of ASR takes 505 MB.
    assert cells["ks base onepass seed 0"]["bytes"] / (60_973 + 6 * 512) == 13 * 768 * 4
    assert cells["asr base s3prl seed 0"]["bytes"] / 3 == pytest.approx(505e6, rel=0.02)
    # 13 states of 768 numbers, two bytes each, for about 111 hours at 50 frames a second.
    assert cells["asr base onepass seed 0"]["bytes"] == pytest.approx(4.0e11, rel=0.05)
    assert cells["er base s3prl seed 0"]["seconds"] > cells["er base onepass seed 0"]["seconds"]
