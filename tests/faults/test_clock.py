"""A clock that jumps changes nothing: neither records nor which cells are complete."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.common import file_hashes as module
from s3prl_compress.common.file_hashes import file_hashes
from s3prl_compress.evaluation.cell import finished_record

from ..suite.conftest import in_process

__all__ = ["in_process"]

QUICK = Path(__file__).parent.parent / "quick.yaml"
YEAR = 365 * 24 * 3600.0


def test_a_suite_under_a_clock_that_jumps(
    tiny_digits_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_process: None,
) -> None:
    suite = {
        "output": "unused",
        "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
        "tasks": [{"task": "ks", "data": str(tiny_digits_corpus), "recipe": str(QUICK)}],
        "seeds": [0, 1],
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))

    def run(output: str) -> str:
        assert cli.main(["run", str(path), "--output", str(tmp_path / output)]) == 0
        return capsys.readouterr().out

    run("steady")
    now, moments = time.time(), random.Random(0)
    monkeypatch.setattr(time, "time", lambda: now + moments.uniform(-YEAR, YEAR))
    assert "3 of 3 cells complete, 0 of them from earlier runs" in run("jumping")
    records = sorted((tmp_path / "jumping" / "records").glob("*.json"))
    for record in records:
        found, wanted = (
            finished_record(tmp_path / name / "records", record.stem)
            for name in ("jumping", "steady")
        )
        assert found is not None
        assert wanted is not None
        assert (found.score, found.rates) == (wanted.score, wanted.rates)
    # Written in the future, as a clock that was set back since then says, and long ago.
    for record, written in zip(records, (now + YEAR, now - YEAR), strict=True):
        os.utime(record, (written, written))
    assert "3 of 3 cells complete, 3 of them from earlier runs" in run("jumping")
    records[0].unlink()
    assert "3 of 3 cells complete, 2 of them from earlier runs" in run("jumping")


def test_remembered_hashes_do_not_trust_the_order_of_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEWEST", 1)
    monkeypatch.setattr(module, "SAMPLE", 0)  # only what the times say
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(module.VERIFY, raising=False)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    past, future = corpus / "past", corpus / "future"
    now = time.time()
    for path, written in ((past, now - 60), (future, now + YEAR)):
        path.write_text("before")
        os.utime(path, (written, written))

    def hashes() -> list[str]:
        return file_hashes(corpus, ["past", "future"], "hashing")

    first = hashes()
    # Changed after the clock was set back: the newer content has the older time.
    past.write_text("after!")
    os.utime(past, (now - YEAR, now - YEAR))
    # In the future no two changes can be told apart by their times, so nothing is remembered.
    future.write_text("after!")
    os.utime(future, (now + YEAR, now + YEAR))
    second = hashes()
    assert second[0] != first[0]
    assert second[1] != first[1]
    assert second[0] == second[1]
