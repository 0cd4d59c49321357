"""Checkpoints and records written on 2026-11-21, before modules and settings got their new names.

`tests/older_files` was made by commit 3e33bb1: a small encoder of random weights, pruned by
`structured` and then clustered; its dense original and itself scored for a few updates on the
corpus of tones with two seeds; one timing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from s3prl_compress.encoder import fingerprint, load
from s3prl_compress.evaluation import score
from s3prl_compress.evaluation.identity import own_head_identity, same_own_head_cell, stem_of
from s3prl_compress.report import report
from s3prl_compress.results.records import ScoreRecord, read_record
from s3prl_compress.tasks.registry import find_task

FOLDER = Path(__file__).parent / "older_files"
QUICK = Path(__file__).parent / "quick.yaml"


def test_an_older_checkpoint_gives_the_same_states():
    expected = json.loads((FOLDER / "expected.json").read_text())
    encoder = load(FOLDER / "checkpoint")
    assert fingerprint(encoder) == expected["fingerprint"]
    with torch.no_grad():
        states, frames = encoder([torch.sin(torch.arange(6000) / 7.0)])
    assert frames.tolist() == expected["frames"]
    assert states[-1][0, 0, :8].tolist() == pytest.approx(expected["last_state"], abs=2e-6)


def test_its_history_keeps_the_settings_under_their_old_names():
    structured, clustering = load(FOLDER / "checkpoint").provenance.steps
    assert (structured.method, clustering.method) == ("structured", "clustering")
    settings = structured.settings
    assert (settings["ramp"], settings["spread"], settings["drop"], settings["clip"]) == (
        *(0.5, 1.0),
        *(0.1, 5.0),
    )


def test_older_records_count_as_complete(tiny_corpus: Path, tmp_path: Path):
    records = tmp_path / "records"
    shutil.copytree(FOLDER / "records", records)
    before = {path: path.read_bytes() for path in records.iterdir()}
    record = score(
        FOLDER / "checkpoint",
        task="ks",
        data=tiny_corpus,
        output=records,
        recipe=QUICK,
        engine="onepass",
        seed=1,
        name="small",
    )
    (kept,) = records.glob("small.*.seed1.*.json")
    assert record.score == json.loads(kept.read_text())["score"]
    assert {path: path.read_bytes() for path in records.iterdir() if path.is_file()} == before


def test_a_report_reads_older_records(tmp_path: Path):
    records = tmp_path / "records"
    shutil.copytree(FOLDER / "records", records)
    report(records)
    rows = pd.read_csv(records / "leaderboard.csv")
    scores = rows[rows["task"] == "ks"].set_index("upstream")["score"]
    for name in ("dense", "small"):
        written = [
            json.loads(path.read_text())["score"] for path in records.glob(f"{name}.ks.*.json")
        ]
        assert scores[name] == pytest.approx(sum(written) / 2, abs=0.01)


def test_older_records_of_ctc_heads_are_read_and_known(tmp_path: Path):
    """`ctc_records` was made by commit 966d5ee, before `ctc` was a task like any other.

    A random tiny encoder with a CTC head and a pruned one were scored on `support.letters`.
    """
    records = tmp_path / "records"
    shutil.copytree(FOLDER / "ctc_records", records)
    task = find_task("ctc")
    for path in records.glob("*.json"):
        record = read_record(path)
        assert isinstance(record, ScoreRecord)
        assert record.edits == {}
        checkpoint, corpus = record.upstream.checkpoint_sha256, record.corpus.fingerprint
        identity = own_head_identity(checkpoint, corpus, task, task.load_own_head())
        assert stem_of(record.upstream, ("ctc", "greedy"), identity) == path.stem
        assert same_own_head_cell(record, identity)
    report(records)
    rows = pd.read_csv(records / "leaderboard.csv").set_index("upstream")
    assert rows.loc["tuned", "companion_score"] == pytest.approx(160)  # WER; CER leads
    assert rows.loc["tuned", "cer"] == pytest.approx(rows.loc["tuned", "score"])
    assert rows["substitutions"].isna().all()
