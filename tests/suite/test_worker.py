"""The process that does cells: used again, replaced when it dies, gone with whom it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.suite.cells import SuiteCell
from s3prl_compress.suite.plan import SuitePlan
from s3prl_compress.suite.suite_file import Suite
from s3prl_compress.suite.worker import Worker, retry_alone

TINY = SuiteCell(kind="upstream", upstream="tiny")
BROKEN = SuiteCell(kind="upstream", upstream="broken")


@pytest.fixture
def plan(tmp_path: Path) -> SuitePlan:
    suite = {
        "output": "unused",
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "broken", "source": str(tmp_path / "nowhere")},
        ],
    }
    return SuitePlan(
        suite=Suite.model_validate(suite),
        output=tmp_path / "out",
        device="cpu",
        threads=1,
        command=("s3prl-compress", "run", "suite.yaml"),
    )


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def test_a_cell_ends_well_badly_or_by_a_kill_and_the_next_is_done(plan: SuitePlan) -> None:
    before = children()
    with Worker(plan, quiet=True) as worker:
        (process,) = children() - before
        # While it still imports, with the cell waiting: as an out-of-memory kill would come.
        threading.Timer(0.5, process.kill).start()
        killed = worker.run(TINY)
        assert killed.state == "failed"
        assert "signal 9" in killed.message
        assert worker.run(TINY).state == "done"
        (second,) = children() - before
        bad = worker.run(BROKEN)
        assert bad.state == "failed"
        assert "nowhere" in bad.message
        assert "InputError" in bad.details
        assert worker.run(TINY).state == "skipped"
        assert children() - before == {second}
    assert children() - before == set()


def test_a_process_is_replaced_after_a_long_cell_that_leaves_much_memory(
    plan: SuitePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    with Worker(plan, quiet=True) as worker:
        assert worker.run(TINY).state == "done"
        (first,) = children() - before
        monkeypatch.setattr("s3prl_compress.suite.worker._LONG", 0.0)
        assert worker.run(TINY).state == "skipped"
        assert children() - before == {first}
        monkeypatch.setattr("s3prl_compress.suite.worker._MUCH_MEMORY", first.memory_info().rss / 2)
        assert worker.run(TINY).state == "skipped"
        assert children() - before == set()
        monkeypatch.undo()
        assert worker.run(TINY).state == "skipped"
        assert len(children() - before) == 1
    assert children() - before == set()


def test_a_batch_that_dies_is_done_again_cell_by_cell(plan: SuitePlan) -> None:
    before = children()
    with Worker(plan, quiet=True) as worker:
        assert worker.run(TINY).state == "done"
        (process,) = children() - before
        process.suspend()  # as if it were at work
        threading.Timer(0.3, process.kill).start()
        together = worker.run_together([TINY, BROKEN])
        assert [result.state for result in together] == ["failed", "failed"]
        assert all("signal 9" in result.message for result in together)
        alone = list(retry_alone(worker, [TINY, BROKEN], together))
        assert [result.state for result in alone] == ["skipped", "failed"]
        assert "nowhere" in alone[1].message
        assert list(retry_alone(worker, [BROKEN], together[1:])) == together[1:]


def test_a_method_that_trains_may_decode_audio_in_processes_of_its_own(
    plan: SuitePlan, tones: Path
) -> None:
    settings = {
        "audio": str(tones), "sparsity": 0.3, "steps": 1, "final_steps": 1, "batch_seconds": 1,
        "accumulation": 1, "workers": 1,
    }  # fmt: skip
    gates = {"name": "gates", "from": "tiny", "method": "structured", "settings": settings}
    upstreams = [{"name": "tiny", "random": {"shape": "hubert_tiny"}}, gates]
    suite = Suite.model_validate({"output": "unused", "upstreams": upstreams})
    with Worker(plan.model_copy(update={"suite": suite}), quiet=True) as worker:
        for name in ("tiny", "gates"):
            result = worker.run(SuiteCell(kind="upstream", upstream=name))
            assert result.state == "done", result.details


def test_a_kill_of_the_run_ends_its_process_and_the_next_run_goes_on(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    quick = Path(__file__).parent.parent / "quick.yaml"
    suite = {
        "output": str(tmp_path / "out"),
        "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
        "tasks": [{"task": "ks", "data": str(tiny_corpus), "recipe": str(quick)}],
        "seeds": [0, 1],
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    program = [sys.executable, "-c", "from s3prl_compress.cli import main; main()", "run"]
    # A file, not a pipe: who inherits it does not hold us up.
    with (tmp_path / "errors").open("w") as errors:
        run = subprocess.Popen([*program, str(path)], stderr=errors, stdout=errors)
        try:
            until = time.monotonic() + 60
            while "[2/3]" not in (tmp_path / "errors").read_text():
                assert time.monotonic() < until
                assert run.poll() is None
                time.sleep(0.02)
            (worker,) = psutil.Process(run.pid).children()
        finally:
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
    worker.wait(timeout=10)
    assert cli.main(["run", str(path)]) == 0
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 2
