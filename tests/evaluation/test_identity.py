"""Cells keep the names that they had in every earlier version."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s3prl_compress.evaluation.cell import cell_stem
from s3prl_compress.evaluation.identity import record_identity, stem_of
from s3prl_compress.evaluation.rates import ChosenRate
from s3prl_compress.results.records import Engine, ScoreRecord, read_records
from s3prl_compress.tasks.registry import find_task

OLDER_FILES = Path(__file__).parents[1] / "older_files"
UPSTREAM: Any = SimpleNamespace(name="made up", checkpoint_sha256="a" * 64)
CORPUS: Any = SimpleNamespace(fingerprint=lambda: "b" * 64)


@pytest.mark.parametrize(
    ("task", "engine", "stem"),
    [
        ("ks", "onepass", "ks.onepass.independent.seed3.d1a9a8cf"),
        ("ks", "s3prl", "ks.s3prl.fairseq.seed3.478da138"),
        ("sid", "onepass", "sid.onepass.independent.seed3.9c31f3b1"),
        ("sid", "s3prl", "sid.s3prl.fairseq.seed3.a9fe5cf0"),
        ("er", "onepass", "er.onepass.independent.seed3.6ceb8dab"),
        ("er", "s3prl", "er.s3prl.fairseq.seed3.25bf9efa"),
        ("asr", "onepass", "asr.onepass.independent.seed3.3aecf171"),
        ("asr", "s3prl", "asr.s3prl.fairseq.seed3.a34b4386"),
    ],
)
def test_a_stem_is_that_of_earlier_versions(task: str, engine: Engine, stem: str) -> None:
    declared = find_task(task)
    settings, _ = declared.load_settings("official", engine)
    rate = ChosenRate(0.01, "record.json") if engine == "s3prl" else None
    given = cell_stem(UPSTREAM, CORPUS, declared, settings, engine, 3, rate)
    assert given == f"made-up.{stem}"


def test_a_record_has_the_identity_of_the_cell_that_wrote_it() -> None:
    """These records were written by an earlier version, which had no `record_identity`."""
    records = {
        path.stem: record
        for path, record in read_records(OLDER_FILES / "records")
        if isinstance(record, ScoreRecord)
    }
    assert len(records) == 4
    for stem, record in records.items():
        parts = (record.task, record.engine, record.padding, f"seed{record.seed}")
        assert stem_of(record.upstream, parts, record_identity(record)) == stem
