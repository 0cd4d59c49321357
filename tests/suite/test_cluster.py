"""Suites as jobs: a queue that runs them at once here, a real Slurm in `tests/cluster`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import yaml

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.files import write_atomically
from s3prl_compress.suite import run_suite
from s3prl_compress.suite.plan import CellResult
from s3prl_compress.suite.slurm_job import _TerminationWarning

QUICK = Path(__file__).parent.parent / "quick.yaml"


@pytest.fixture
def suite(tiny_corpus: Path, tmp_path: Path) -> Path:
    content = {
        "output": str(tmp_path / "out"),
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "lost", "source": str(tmp_path / "nowhere")},
        ],
        "tasks": [{"task": "ks", "data": str(tiny_corpus), "recipe": str(QUICK)}],
        "threads": 1,
        "device": "cpu",
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_jobs_write_the_same_records_and_finished_cells_need_none(
    suite: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    immediate_queue: None,
    in_process: None,
) -> None:
    answer = run_suite(suite, cluster="slurm", only="tiny,upstream lost")
    failed = {failure["cell"]: failure["reason"] for failure in answer.data["failed"]}
    assert answer.exit_code == 1
    assert "nowhere" in failed.pop("upstream lost")
    assert failed == {}
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 1
    assert "3 jobs, 0 of them queued already" in capsys.readouterr().err

    again = run_suite(suite, cluster="slurm", only="tiny")
    assert (again.exit_code, again.data["done_before"]) == (0, 2)
    assert "0 jobs" in capsys.readouterr().err


def test_an_old_failure_of_a_complete_cell_is_forgotten(
    suite: Path, tmp_path: Path, immediate_queue: None, in_process: None
) -> None:
    """Jobs that need the upstream would give up on the result file of the earlier failure."""
    assert run_suite(suite, only="upstream tiny").exit_code == 0
    stale = tmp_path / "out" / "cluster" / "results" / "upstream-tiny.json"
    result = CellResult(title="upstream tiny", state="failed", message="out of memory")
    write_atomically(stale, result.model_dump_json())
    again = run_suite(suite, cluster="slurm", only="tiny")
    assert (again.exit_code, again.data["done_before"], again.data["failed"]) == (0, 1, [])


def test_what_a_cluster_needs_is_named(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"--cluster needs submitit; .*\[cluster\]"):
        run_suite(suite, cluster="slurm")


def test_the_former_local_cluster_is_refused(suite: Path) -> None:
    with pytest.raises(InputError, match="--cluster local: has been removed; without --cluster,"):
        run_suite(suite, cluster="local")


def test_what_slurm_refuses_is_one_line(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("srun", "exit 0"), ("sbatch", "echo 'no such partition' >&2; exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(InputError, match=r"^--cluster slurm: upstream-tiny: no such partition$"):
        run_suite(suite, cluster="slurm")


def test_a_warning_of_the_scheduler_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("s3prl_compress.suite.slurm_job.time.sleep", waited.append)
    before = signal.getsignal(signal.SIGTERM)
    assert threading.current_thread() is threading.main_thread()
    with _TerminationWarning() as warning:
        warning.wait_for_termination()
        assert max(waited) < 10
        os.kill(os.getpid(), signal.SIGTERM)
        warning.wait_for_termination()
        assert max(waited) > 10
    assert signal.getsignal(signal.SIGTERM) == before
