"""The rehearsal of official scores: its corpora are the official ones' image, and it runs."""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.tasks.registry import open_corpus

FOLDER = Path(__file__).parents[2] / "benchmarks"

VARIANTS = {
    "ks": "official",
    "sid": "voxceleb1",
    "er": "iemocap",
    "asr": "librispeech",
    "pr": "librispeech",
    "ic": "fluent",
}
"""Of corpora that are taken for the official ones."""


@pytest.fixture
def corpora(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("rehearsal_corpora")


def listed(corpora: Any, task: str, root: Path) -> dict[str, bytes | str]:
    """Return all files of a corpus at full scale, without writing one."""
    files: dict[str, bytes | str] = {}
    writer = corpora.Writer(root, 1.0, (0.02, 0.02))
    writer.write = files.__setitem__
    corpora.WRITERS[task](writer)
    assert writer.files == sum(name.endswith((".wav", ".flac")) for name in files) - (
        len(corpora.BACKGROUND) if task == "ks" else 0
    )
    return files


def test_voxceleb1_has_its_numbers(corpora: Any, tmp_path: Path) -> None:
    files = listed(corpora, "sid", tmp_path)
    lines = str(files["iden_split.txt"]).splitlines()
    splits = Counter(line[0] for line in lines)
    assert splits == {"1": 138_361, "2": 6_904, "3": 8_251}
    assert len(files) == 153_516 + 1
    for split in ("1", "3"):
        speakers = {line[2:].partition("/")[0] for line in lines if line[0] == split}
        assert len(speakers) == 1_251
    parts = Counter(name.partition("/")[0] for name in files if name.endswith("/00001.wav"))
    assert set(parts) == {"dev", "test"}


def test_the_other_corpora_have_their_numbers(corpora: Any, tmp_path: Path) -> None:
    words = [name.split("/") for name in listed(corpora, "ks", tmp_path)]
    assert Counter(name[0] for name in words) == {
        "speech_commands_v0.01": 64_727 + 6,
        "speech_commands_test_set_v0.01": 3_081,
    }
    trained = [name for name in words if name[0] == "speech_commands_v0.01"]
    assert len({name[2].partition("_nohash_")[0] for name in trained}) == 1_881 + 6
    read = listed(corpora, "asr", tmp_path)
    utterances = Counter(name.partition("/")[0] for name in read if name.endswith(".flac"))
    assert list(utterances.values()) == [28_539, 2_703, 2_620]
    emotions = [name for name in listed(corpora, "er", tmp_path) if name.endswith(".wav")]
    assert len(emotions) == 5_531
    intents = listed(corpora, "ic", tmp_path)
    rows = [len(str(intents[f"data/{part}_data.csv"]).splitlines()) - 1 for part in (
        "train", "valid", "test"
    )]  # fmt: skip
    assert rows == [23_132, 3_118, 3_793]


@pytest.mark.parametrize("task", VARIANTS)
def test_the_smallest_corpus_is_sound_and_taken_for_the_official_one(
    corpora: Any, task: str, tmp_path: Path
) -> None:
    written = corpora.write_corpus(task, tmp_path, 1e-9, (0.1, 0.2))
    corpus = open_corpus(written.data, task)
    corpus.check()
    assert corpus.variant == VARIANTS[task]
    used = {path.resolve() for path in corpus.used_files()}
    recordings = {path.resolve() for path in written.source.rglob("*.*") if path.suffix != ".txt"}
    assert len({path for path in used & recordings if path.suffix in (".wav", ".flac")}) >= min(
        written.files, 200
    )
    again = corpora.write_corpus(task, tmp_path, 1e-9, (0.1, 0.2))
    assert written.written > 0
    assert again.written == 0
    assert (again.files, again.seconds) == (written.files, written.seconds)


def test_a_corpus_that_was_not_finished_is_written_again(corpora: Any, tmp_path: Path) -> None:
    first = corpora.write_corpus("er", tmp_path, 1e-9, (0.1, 0.2))
    (tmp_path / corpora.MARKER).unlink()
    lost = next(first.source.rglob("*.wav"))
    lost.unlink()
    assert corpora.write_corpus("er", tmp_path, 1e-9, (0.1, 0.2)).written > 0
    assert lost.is_file()


def test_it_runs_end_to_end(
    corpora: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rehearsal = importlib.import_module("rehearsal")
    for name in ("XDG_CACHE_HOME", "OMP_NUM_THREADS"):  # which it sets
        monkeypatch.setenv(name, "1")
    arguments = ["--task", "er", "--scale", "1e-9", "--output", str(tmp_path), "--threads", "1"]
    arguments += ["--seconds", "0.1", "0.2", "--base", "hubert_tiny", "--updates", "3"]
    monkeypatch.setattr(sys, "argv", ["rehearsal.py", *arguments])
    rehearsal.main()
    figures = json.loads((tmp_path / "er_1e-09_0.1-0.2/figures.json").read_text())["figures"]
    stages = {stage["name"]: stage for stage in figures["stages"]}
    names = [
        f"{what}, {when}" for when in ("first", "again") for what in ("checking", "fingerprint")
    ]
    assert list(stages) == [*names, "loading, both checks", "features", "heads", "test"]
    assert all(stage["seconds"] >= 0 for stage in stages.values())
    assert figures["peak_bytes"] >= figures["peak_own_bytes"] > 2**20
    assert stages["features"]["disk"] > 0
    assert figures["recipe"]["total_steps"] == rehearsal.FEWEST_STEPS
    extrapolated = figures["extrapolated"]
    outside = 1 - extrapolated["seconds"]["forward pass"] / sum(extrapolated["seconds"].values())
    assert extrapolated["share_outside"] == pytest.approx(outside)
    assert figures["dry_run"]["seconds"] > 0
    assert "EXTRAPOLATED, not run: er, hubert_tiny on IEMOCAP" in capsys.readouterr().out
