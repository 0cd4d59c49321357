"""The kill benchmark: its suite is valid, its shards resume, and it sees what is wrong."""

from __future__ import annotations

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.suite.suite_file import read_suite

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def kill_suite(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("kill_suite")


def kill(module: Any, signal: str, hit: str) -> Any:
    return module.Kill(
        signal=signal, scope="command", second=1.0, hit=hit, cell=hit, ended=0.5,
        checked={"records": 2},
    )  # fmt: skip


def test_the_suite_has_every_kind_of_cell(kill_suite: Any, tmp_path: Path) -> None:
    suite = read_suite(kill_suite.write_inputs(tmp_path))
    assert set(kill_suite.kinds_of_titles(suite).values()) == {
        *(f"upstream, {way}" for way in ("random or source", "magnitude", "low_rank")),
        *(f"upstream, {way}" for way in ("structured", "export")),
        *(f"{task}, onepass" for task in ("ks", "sid", "er", "ic", "pr", "asr")),
        "ks, s3prl",
        "ctc, greedy",
        "whisper, greedy",
        "time",
    }


def test_shards_share_the_kills_and_resume(kill_suite: Any, tmp_path: Path) -> None:
    shards = [
        kill_suite.open_shard(tmp_path / f"{number}.json", number, 3, 10, 7) for number in (1, 2, 3)
    ]
    assert [shard.wanted for shard in shards] == [4, 3, 3]
    begun = shards[0].model_copy(
        update={"undisturbed": 60.0, "kills": [kill(kill_suite, "SIGKILL", "time")] * 4}
    )
    state = tmp_path / "1.json"
    state.write_text(begun.model_copy(update={"done": True}).model_dump_json())
    assert kill_suite.open_shard(state, 1, 3, 10, 7).done
    more = kill_suite.open_shard(state, 1, 3, 30, 7)
    assert (more.wanted, more.done, len(more.kills)) == (10, False, 4)
    with pytest.raises(SystemExit, match="begun with --seed 7"):
        kill_suite.open_shard(state, 1, 3, 10, 8)


def test_the_summary_adds_the_shards_up(kill_suite: Any) -> None:
    shards = [
        kill_suite.Shard(
            number=number,
            of=2,
            seed=0,
            wanted=2,
            kills=[kill(kill_suite, "SIGKILL", "time"), kill(kill_suite, "SIGTERM", hit)],
            ends=[kill_suite.End(after=2, equal=5, resumed=1, upstreams=3, times=2)],
            faults=faults,
        )
        for number, hit, faults in (
            (1, "time", []),
            (2, "start", [kill_suite.Fault(after=1, kind="lost", text="a.json")]),
        )
    ]
    lines, figures = kill_suite.summary(shards)
    assert figures["by_hit_and_signal"] == {
        "start": {"SIGKILL": 0, "SIGTERM": 1},
        "time": {"SIGKILL": 2, "SIGTERM": 1},
    }
    assert (figures["kills"], figures["equal_scores"], figures["suites_ended"]) == (4, 10, 2)
    assert figures["checked_after_kills"] == {"records": 8}
    assert lines[-1].startswith("faults: 1 corrupt 0 lost 1 ")


def test_what_is_damaged_is_seen(kill_suite: Any, tmp_path: Path) -> None:
    upstreams, records = tmp_path / "upstreams", tmp_path / "records"
    save(random_encoder(NAMED_SHAPES["hubert_tiny"]), upstreams / "tiny")
    counts, faults, _ = kill_suite.look(tmp_path)
    assert (counts["checkpoints"], faults) == (1, [])
    weights = upstreams / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    records.mkdir()
    (records / "a.json").write_text("{")
    (records / ".a.json.12345678").touch()
    (upstreams / "cut.onnx").write_bytes(b"cut")
    features = records / ".work" / "features"
    features.mkdir(parents=True)
    for name, suffix, index in (
        ("means", ".npy", {"sha256": hashlib.sha256(b"whole").hexdigest()}),
        ("states", ".frames", {"identity": {"shape": [3, 2, 4]}}),
    ):
        (features / f"{name}.json").write_text(json.dumps(index))
        (features / f"{name}{suffix}").write_bytes(b"cut")
    _, faults, _ = kill_suite.look(tmp_path)
    assert [fault.partition(":")[0] for fault in faults] == [
        "records/a.json",
        "upstreams/tiny/config.json",
        "upstreams/cut.onnx",
        "records/.work/features/means.json",
        "records/.work/features/states.json",
    ]
    (features / "means.npy").write_bytes(b"whole")
    (features / "states.frames").write_bytes(bytes(48))
    counts, faults, _ = kill_suite.look(tmp_path)
    assert (counts["features"], len(faults)) == (2, 3)
    assert kill_suite.temporary_files(tmp_path) == {records / ".a.json.12345678"}


def test_processes_are_known_by_their_mark(kill_suite: Any, tmp_path: Path) -> None:
    mark = str(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
        stdout=subprocess.PIPE,
        env={kill_suite._MARK: mark},
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert [one.pid for one in kill_suite.marked(mark)] == [process.pid]
    left, _ = kill_suite.end(process, 15, everything=False)
    assert left == []
    assert process.returncode == -15
    process.stdout.close()
