"""A suite on a real Slurm: preempted, warned of its end, killed; the records are the same.

The proof that `run --cluster slurm` keeps its word. `tests/cluster/slurm_proof.sh` installs what
it needs and runs it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from s3prl_compress.encoder import fingerprint, load
from s3prl_compress.results.records import ScoreRecord, read_records

from ..support.small_corpora import write_transcripts
from . import slurm_node

PROGRAM = [
    sys.executable,
    "-c",
    "from s3prl_compress.cli import main; raise SystemExit(main())",
]
S3PRL_JOB = "1.ks-tiny-s3prl-seed-0"


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    reason = slurm_node.why_not()
    if reason is not None:
        pytest.skip(reason)
    # Not below pytest's own folder: munged's user must be able to get there.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        os.chmod(folder, 0o755)
        with slurm_node.slurm_node(Path(folder) / "node"):
            yield


def write_suite(folder: Path, corpus: Path) -> Path:
    """Two upstreams, both engines, two seeds; s3prl's cells are long enough to be disturbed."""
    quick: dict[str, Any] = {
        "extends": "smoke", "total_steps": 4, "eval_step": 2, "batch_size": 8,
        "crops_per_file": 2, "learning_rates": [1e-2],
        "engines": {"s3prl": {"total_steps": 400, "eval_step": 50}},
    }  # fmt: skip
    suite: dict[str, Any] = {
        "output": "unused",
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.4}},
        ],
        "tasks": [
            {"task": "ks", "data": str(corpus), "recipe": "quick.yaml", "engines": ["s3prl"]},
            {"task": "ks", "data": str(corpus), "recipe": "quick.yaml"},
        ],
        "device": "cpu",
        "threads": 1,
        "cluster": {"partition": "low", "cpus": 1, "hours": 0.5},
    }
    (folder / "quick.yaml").write_text(yaml.safe_dump(quick))
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


def write_sharded_suite(folder: Path, task: str, corpus: Path) -> Path:
    """One upstream on one task, whose features are computed in four shards."""
    head = {"project_dim": 8, "rnn_dim": 8, "rnn_layers": 1}
    recipe = {
        "extends": "smoke", "total_steps": 4, "eval_step": 2, "batch_size": 4,
        "learning_rates": [1e-2], "seconds_per_batch": 2.0,
        **({"crops_per_file": 20} if task == "ks" else {"recognition": head}),
    }  # fmt: skip
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    suite: dict[str, Any] = {
        "output": "unused",
        "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
        "tasks": [{"task": task, "data": str(corpus), "recipe": "small.yaml", "seeds": [0, 1]}],
        "device": "cpu",
        "threads": 1,
        "cluster": {"partition": "low", "cpus": 1, "hours": 0.5, "shards": 4},
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False))
    return path


Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start runs of suites; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(path: Path, output: Path, *more: str) -> subprocess.Popen[str]:
        command = [*PROGRAM, "run", str(path), "--output", str(output), *more]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(command, **streams, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what comes as soon as there is something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds} s; the queue: {slurm_node.jobs()}"
        time.sleep(0.1)
    return found


def state_of(output: Path) -> list[Path]:
    return sorted(output.glob("records/.work/tiny.ks.s3prl*/**/states-*.ckpt"))


def scores(output: Path) -> dict[tuple[str, str], ScoreRecord]:
    found = [record for _, record in read_records(output / "records")]
    return {(r.upstream.name, r.engine): r for r in found if isinstance(r, ScoreRecord)}


def job_process(name: str) -> psutil.Process | None:
    """Return the process that a job's worker is a child of, once it is there."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, variables = process.info["cmdline"] or [""], process.info["environ"] or {}
        ours = "submitit.core._submit" in command and "srun" not in command[0]
        if ours and variables.get("SLURM_JOB_NAME") == name and process.children():
            return process
    return None


def test_a_disturbed_suite_ends_as_an_undisturbed_one(
    slurm: None, run: Run, tiny_corpus: Path, tmp_path: Path
) -> None:
    path = write_suite(tmp_path, tiny_corpus)
    plain, output = tmp_path / "plain", tmp_path / "disturbed"
    undisturbed = run(path, plain)
    printed = undisturbed.communicate()[0]
    assert undisturbed.returncode == 0, printed

    first = run(path, output, "--cluster", "slurm")
    # Preemption: a job that needs the whole node, in a partition that comes first.
    number, _ = until(lambda: slurm_node.jobs().get(S3PRL_JOB))
    until(lambda: state_of(output))
    slurm_node.ask("sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true")
    until(lambda: slurm_node.restarts(number) == 1)
    # Its hours end: submitit is warned, and requeues. The restart may take some seconds.
    until(lambda: slurm_node.jobs()[S3PRL_JOB][1] == "RUNNING")
    before = state_of(output)[-1]
    until(lambda: state_of(output)[-1] != before)
    slurm_node.ask("scancel", "--signal=USR2", number)
    until(lambda: slurm_node.restarts(number) == 2)
    # The node's memory is full: everything of the job is killed at once.
    until(lambda: slurm_node.jobs()[S3PRL_JOB][1] == "RUNNING")
    job = until(lambda: job_process(S3PRL_JOB))
    family = [job, *job.children(recursive=True)]
    for process in family:
        process.kill()
    printed = first.communicate(timeout=240)[0]
    assert first.returncode == 1, printed
    assert "ended without a result" in printed

    second = run(path, output, "--cluster", "slurm")
    printed = second.communicate(timeout=240)[0]
    assert second.returncode == 0, printed
    assert "1 jobs, 0 of them queued already" in printed

    ours, theirs = scores(output), scores(plain)
    assert set(ours) == set(theirs)
    assert len(ours) == 4
    for key, record in theirs.items():
        other = ours[key]
        same = ("settings", "corpus", "test_size", "chance", "metric", "predictions")
        assert all(getattr(other, name) == getattr(record, name) for name in same), key
        # Preemption takes all that runs: the other upstream's cell may have been in training, too.
        assert other.resumed or key != ("tiny", "s3prl")
        assert not other.resumed or other.engine == "s3prl"
        if not other.resumed:
            assert (other.score, other.rates) == (record.score, record.rates)
            texts = [(o / "records" / record.predictions).read_bytes() for o in (output, plain)]
            assert texts[0] == texts[1]
    for name in ("tiny", "half"):
        prints = {fingerprint(load(o / "upstreams" / name)) for o in (output, plain)}
        assert len(prints) == 1


def test_a_run_takes_up_the_jobs_of_one_that_ended(
    slurm: None, run: Run, tiny_corpus: Path, tmp_path: Path
) -> None:
    path, output = write_suite(tmp_path, tiny_corpus), tmp_path / "out"
    only = ("--only", "tiny", "--cluster", "slurm")
    first = run(path, output, *only)
    until(lambda: state_of(output))
    first.kill()
    first.communicate()
    job = until(lambda: job_process(S3PRL_JOB))
    halted = [job, *job.children(recursive=True)]
    for process in halted:  # else a slow start of the second run would find it ended
        process.suspend()
    second = run(path, output, *only)
    assert second.stdout is not None
    printed = ""
    while "queued already" not in printed and (line := second.stdout.readline()):
        printed += line
    for process in halted:
        process.resume()
    printed += second.stdout.read()
    assert second.wait() == 0, printed
    assert " 1 of them queued already" in printed
    assert len(scores(output)) == 2


@pytest.mark.parametrize("task", ["ks", "asr"])
def test_features_in_shards_are_those_of_one_piece(
    slurm: None,
    run: Run,
    task: str,
    tiny_corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One shard is killed and one requeued: the job of the cell computes the missing one."""
    # Otherwise each process measures which library multiplies faster.
    monkeypatch.setenv("S3PRL_COMPRESS_LINEARS", "torch")
    texts = write_transcripts(tmp_path / "asr", ("ONE", "TWO"), train=12)
    path = write_sharded_suite(tmp_path, task, tiny_corpus if task == "ks" else texts)
    plain, output = tmp_path / "plain", tmp_path / "sharded"
    undisturbed, first = run(path, plain), run(path, output, "--cluster", "slurm")
    killed, requeued = (f"1.{task}-tiny-features-{number}-of-4" for number in (1, 4))
    # The node's memory is full: everything of the job is killed at once.
    job = until(lambda: job_process(killed))
    for process in [job, *job.children(recursive=True)]:
        process.kill()
    until(lambda: job_process(requeued))
    number, _ = slurm_node.jobs()[requeued]
    slurm_node.ask("scontrol", "requeue", number)
    until(lambda: slurm_node.restarts(number) == 1)
    printed = first.communicate(timeout=240)[0]
    assert first.returncode == 0, printed
    assert "6 jobs (4 of them compute shards of features), 0 of them queued already" in printed
    assert f"{killed}: no result" in printed
    assert f"{requeued}: computed" in printed
    assert "features: 3 of 4 jobs for shards succeeded; cells compute what" in printed
    printed = undisturbed.communicate()[0]
    assert undisturbed.returncode == 0, printed

    found, expected = (
        {path.name: path.read_bytes() for path in folder.glob("records/.work/features/*")}
        for folder in (output, plain)
    )
    assert found == expected  # bit for bit
    assert len(found) == 3
    for record in plain.glob("records/*.csv"):
        assert (output / "records" / record.name).read_bytes() == record.read_bytes()
