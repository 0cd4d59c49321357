"""A dry run: what it lists, what it takes for granted, and that it writes nothing."""

from __future__ import annotations

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
