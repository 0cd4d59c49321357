"""Where the time of a suite's run goes, by its output and its records."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.suite.suite_file import Suite

from ..support.made_up import score, timing, upstream

FOLDER = Path(__file__).parents[2] / "benchmarks"
SUITE = {
    "output": "unused",
    "upstreams": [
        {"name": "tiny", "random": {"shape": "hubert_tiny"}},
        {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.5}},
    ],
}


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("overhead")


def test_the_times_of_lines_and_records_are_divided_into_rows(overhead: Any) -> None:
    lines = [
        ("", 0.0),
        ("[1/5] upstream tiny", 2.0),
        ("    5 parameters (1 s)", 3.0),
        ("[2/5] upstream half", 3.0),
        ("    3 parameters (4 s)", 7.0),
        ("[3/5] ks half onepass seed 0", 7.0),
        ("[4/5] ks half onepass seed 1", 7.1),
        ("    seed 0: 50.0 (7 s)", 27.0),
        ("    seed 1: 51.0 (7 s)", 27.1),
        ("[5/5] time half", 27.1),
        ("    RTFx 20 (60 s)", 87.0),
        ("", 88.5),
    ]
    half = upstream("half")
    stages = {"features": 4.0, "heads": 3.0, "test": 1.0, "total": 8.0}
    records = [
        *(score(half, 50.0, seed=seed, seconds=stages) for seed in (0, 1)),
        timing(half, upstream("tiny"), settings={"repeats": 10, "warmup": 5}),
    ]
    rows = overhead.rows(lines, Suite.model_validate(SUITE), records)
    passes = 1.5 * sum(map(sum, records[-1].raw_seconds.values()))
    expected = {
        "features": 8.0,
        "heads": 6.0,
        "tests": 2.0,
        "timed passes": passes,
        "making upstreams": 4.0,
        "until the first cell": 2.0,
        "loading sources": 1.0,
        "around scores": 20.1 - 16.0,
        "around timings": 59.9 - passes,
        "after the last cell": 1.5,
    }
    assert {row: own for row, own in rows.items() if own} == pytest.approx(expected)
    run = overhead.Run(88.5, 10.0, rows)
    assert run.outside == pytest.approx(88.5 - 16.0 - passes - 4.0)
    assert "total" in overhead.table(run)


def test_a_suite_is_run_and_its_time_is_complete(overhead: Any, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(SUITE))
    run = overhead.measure(str(path), "half", tmp_path / "out", None)
    assert (tmp_path / "out" / "upstreams" / "half").is_dir()
    assert sum(run.rows.values()) == pytest.approx(run.seconds)
    positive = {row for row, seconds in run.rows.items() if seconds > 0}
    outside = {"until the first cell", "loading sources", "after the last cell"}
    assert positive == {"making upstreams", *outside}
    assert run.cpu_seconds > 0
