"""Shards of features as jobs of a suite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.suite import run_suite
from s3prl_compress.suite.cells import cells_of
from s3prl_compress.suite.corpora import corpus_fingerprint
from s3prl_compress.suite.groups import CellGroup, groups_of
from s3prl_compress.suite.plan import SuitePlan
from s3prl_compress.suite.shards import with_shards, without_late_shards
from s3prl_compress.suite.status import SuiteStatus
from s3prl_compress.suite.suite_file import read_suite

from ..support.small_corpora import write_speakers, write_transcripts
from .conftest import ImmediateQueue

COUNT = 3
SID = [f"1.sid-tiny-features-{number}-of-3" for number in (1, 2, 3)]
ASR = [f"2.asr-tiny-features-{number}-of-3" for number in (1, 2, 3)]

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a suite of two tasks and two seeds, and its recipes."""
    sid = write_speakers(tmp_path / "sid", 5)
    asr = write_transcripts(tmp_path / "asr", ("ONE", "TWO"), train=8)
    heads = {"extends": "smoke", "total_steps": 2, "eval_step": 2, "learning_rates": [0.01]}
    small = heads | {"batch_size": 4, "seconds_per_batch": 1.0}
    text = small | {"recognition": {"project_dim": 8, "rnn_dim": 8, "rnn_layers": 1}}
    recipes = {
        "means": small, "other_rate": small | {"learning_rates": [0.1]},
        "text": text, "streamed": text | {"frames": "streamed"},
    }  # fmt: skip
    for name, recipe in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))

    def make(*more: dict[str, Any], **changes: Any) -> Path:
        tasks = [
            {"task": "sid", "data": str(sid), "recipe": "means.yaml"},
            {"task": "asr", "data": str(asr), "recipe": "text.yaml", "seeds": [0]},
            *({"data": str(sid if one["task"] == "sid" else asr)} | one for one in more),
        ]
        content = {
            "output": str(tmp_path / "out"),
            "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
            "tasks": tasks,
            "seeds": [0, 1],
            "threads": 1,
            "device": "cpu",
            "cluster": {"shards": COUNT},
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return make


def split(path: Path) -> tuple[dict[str, CellGroup], list[str]]:
    """Return the jobs of a suite by their names, and the lines about what is not split."""
    suite = read_suite(path)
    output = Path(suite.output)
    plan = SuitePlan(suite=suite, output=output, device=None, threads=None, command=())
    status = SuiteStatus(plan, lambda place: corpus_fingerprint(suite.tasks[place], plan.corpora))
    cells = [cell for cell in cells_of(suite) if not status.is_complete(cell)]
    groups, lines = with_shards(plan, groups_of(suite, cells), status)
    return {group.name: group for group in groups}, lines


def scores(output: Path) -> dict[tuple[str, int | None], ScoreRecord]:
    found = [record for _, record in read_records(output / "records")]
    return {(r.task, r.seed): r for r in found if isinstance(r, ScoreRecord)}


def assert_same_scores(one: Path, other: Path) -> None:
    ours, theirs = scores(one), scores(other)
    assert set(ours) == set(theirs) == {("sid", 0), ("sid", 1), ("asr", 0)}
    for key, record in theirs.items():
        assert ours[key].rates == record.rates
        texts = [(o / "records" / record.predictions).read_bytes() for o in (one, other)]
        assert texts[0] == texts[1]


def stored(output: Path) -> dict[str, bytes]:
    folder = output / "records" / ".work" / "features"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_wait_for_the_upstream_and_all_seeds_for_the_shards(write: Write) -> None:
    again = {"task": "sid", "recipe": "other_rate.yaml"}
    fairseq = {"task": "sid", "recipe": "means.yaml", "padding": "fairseq"}
    groups, lines = split(write(again, fairseq))
    assert lines == []
    fair = [f"4.sid-tiny-features-{number}-of-3" for number in (1, 2, 3)]
    assert list(groups) == [
        "upstream-tiny",
        *SID, "1.sid-tiny-onepass",
        *ASR, "2.asr-tiny-onepass",
        "3.sid-tiny-onepass",  # has the same features as the first
        *fair, "4.sid-tiny-onepass",
    ]  # fmt: skip
    for name in (*SID, *ASR, *fair):
        assert groups[name].depends_on == ("upstream-tiny",)
        assert groups[name].is_shard
    assert groups["1.sid-tiny-onepass"].depends_on == ("upstream-tiny", *SID)
    assert len(groups["1.sid-tiny-onepass"].cells) == 2
    assert groups["2.asr-tiny-onepass"].depends_on == ("upstream-tiny", *ASR)
    assert groups["3.sid-tiny-onepass"].depends_on == ("upstream-tiny", *SID)
    assert groups["4.sid-tiny-onepass"].depends_on == ("upstream-tiny", *fair)


def test_one_shard_is_none(write: Write) -> None:
    groups, lines = split(write(cluster={}))
    assert list(groups) == ["upstream-tiny", "1.sid-tiny-onepass", "2.asr-tiny-onepass"]
    assert lines == []


def test_streamed_frames_and_the_engine_s3prl_have_no_shards(write: Write) -> None:
    streamed = {"task": "asr", "recipe": "streamed.yaml", "seeds": [0]}
    s3prl = {"task": "sid", "recipe": "means.yaml", "engines": ["s3prl"]}
    groups, lines = split(write(streamed, s3prl))
    assert lines == ["asr tiny is not split into shards: its frames are streamed, not stored"]
    assert [name for name in groups if "features" in name] == [*SID, *ASR]
    assert groups["3.asr-tiny-onepass"].depends_on == ("upstream-tiny",)


def test_only_jobs_that_are_still_to_be_submitted_get_new_shards(write: Write) -> None:
    groups, _ = split(write({"task": "sid", "recipe": "other_rate.yaml"}))
    every = list(groups.values())

    def shards(*queued: str) -> list[str]:
        return [group.name for group in without_late_shards(every, queued) if group.is_shard]

    assert shards() == [*SID, *ASR]
    assert shards("1.sid-tiny-onepass", "3.sid-tiny-onepass") == ASR
    assert shards("1.sid-tiny-onepass", "3.sid-tiny-onepass", SID[1]) == [SID[1], *ASR]
    assert shards("1.sid-tiny-onepass") == [*SID, *ASR]


def test_shards_and_their_repair_give_the_records_of_one_piece(
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    immediate_queue: type[ImmediateQueue],
    in_process: None,
) -> None:
    monkeypatch.setattr("s3prl_compress.suite.cluster._RESULT_TIMEOUT", 0.0)
    monkeypatch.setenv("S3PRL_COMPRESS_LINEARS", "torch")
    path, plain = write(), tmp_path / "plain"
    assert run_suite(path, output=plain).exit_code == 0  # without a cluster there are no shards
    assert immediate_queue.submitted == {}

    # Two shards are killed: the cells compute these themselves.
    monkeypatch.setattr(immediate_queue, "killed", {SID[1], ASR[2]})
    repaired = tmp_path / "repaired"
    answer = run_suite(path, output=repaired, cluster="slurm")
    assert answer.exit_code == 0
    assert "4 of 6 jobs for shards succeeded; cells compute what the others" in answer.text
    assert (answer.data["cells"], answer.data["failed"]) == (4, [])
    printed = capsys.readouterr().err
    assert "9 jobs (6 of them compute shards of features), 0 of them queued already" in printed
    assert f"{SID[0]}: computed" in printed
    assert stored(repaired) == stored(plain)
    assert_same_scores(repaired, plain)

    # What is stored needs no shards, whichever cells are missing.
    for record in repaired.glob("records/tiny.*"):
        record.unlink()
    immediate_queue.submitted.clear()
    capsys.readouterr()
    assert run_suite(path, output=repaired, cluster="slurm").exit_code == 0
    assert list(immediate_queue.submitted) == ["1.sid-tiny-onepass", "2.asr-tiny-onepass"]
    assert "shards" not in capsys.readouterr().err


def test_without_the_upstream_shards_fail_as_their_cells_do(
    write: Write,
    tmp_path: Path,
    immediate_queue: type[ImmediateQueue],
    in_process: None,
) -> None:
    lost = [{"name": "tiny", "source": str(tmp_path / "nowhere")}]
    answer = run_suite(write(upstreams=lost), cluster="slurm", only="sid")
    assert answer.exit_code == 1
    assert "features: 0 of 3 jobs for shards succeeded" in answer.text
    assert len(answer.data["failed"]) == 3  # the upstream and two seeds


def test_complete_shards_are_not_submitted_again(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    immediate_queue: type[ImmediateQueue],
    in_process: None,
) -> None:
    monkeypatch.setattr("s3prl_compress.suite.cluster._RESULT_TIMEOUT", 0.0)
    path = write()
    monkeypatch.setattr(immediate_queue, "killed", {SID[1], "1.sid-tiny-onepass"})
    assert run_suite(path, cluster="slurm", only="sid").exit_code == 1
    assert len([name for name in stored(tmp_path / "out") if name.endswith(".npy")]) == 2
    immediate_queue.killed.clear()
    immediate_queue.submitted.clear()
    assert run_suite(path, cluster="slurm", only="sid").exit_code == 0
    assert immediate_queue.submitted == {SID[1]: (), "1.sid-tiny-onepass": (SID[1],)}


def test_queued_shards_are_taken_up(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    immediate_queue: type[ImmediateQueue],
    in_process: None,
) -> None:
    path = write()
    assert run_suite(path, only="upstream").exit_code == 0
    known = tmp_path / "out" / "cluster" / "jobs.json"
    known.parent.mkdir()
    known.write_text(json.dumps({SID[1]: SID[1], "gone": "gone"}))
    answers = [{SID[1]}]  # it has ended when the queue is asked again

    def unfinished(queue: ImmediateQueue, job_ids: list[str]) -> set[str]:
        queue.ended.append(SID[1])
        return answers.pop() if answers else set()

    monkeypatch.setattr("s3prl_compress.suite.cluster._RESULT_TIMEOUT", 0.0)
    monkeypatch.setattr(immediate_queue, "unfinished", unfinished)
    answer = run_suite(path, cluster="slurm", only="sid")
    assert "features: 2 of 3 jobs for shards" in answer.text  # the queued one was made up here
    assert "4 jobs (3 of them compute shards of features), 1 of them" in capsys.readouterr().err
    assert SID[1] not in immediate_queue.submitted
    assert immediate_queue.submitted["1.sid-tiny-onepass"] == tuple(SID)


@pytest.mark.parametrize("value", [0, 257, 1.5, "many"])
def test_the_number_of_shards_is_checked(write: Write, value: object) -> None:
    with pytest.raises(InputError, match=r"suite\.yaml: cluster\.shards: "):
        read_suite(write(cluster={"shards": value}))
