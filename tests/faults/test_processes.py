"""Two suites on one folder, and SIGTERM: processes that meet, and processes that must end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from s3prl_compress.results.records import ScoreRecord, read_records

QUICK = Path(__file__).parent.parent / "quick.yaml"
RUN = "import sys; from s3prl_compress.cli import main; sys.exit(main(['run', *sys.argv[1:]]))"


def write_suite(folder: Path, corpus: Path, **recipe: Any) -> Path:
    folder.mkdir(exist_ok=True)
    values = yaml.safe_load(QUICK.read_text()) | recipe
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    suite = {
        "output": "unused",
        "upstreams": [
            {"name": "tiny", "random": {"shape": "hubert_tiny"}},
            {"name": "half", "from": "tiny", "method": "magnitude", "settings": {"sparsity": 0.5}},
        ],
        "tasks": [{"task": "ks", "data": str(corpus), "recipe": "recipe.yaml"}],
        "device": "cpu",
        "threads": 1,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    return path


def start(suite: Path, output: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(suite), "--output", str(output)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
    )


def test_two_suites_on_one_folder(tiny_digits_corpus: Path, tmp_path: Path) -> None:
    suite, output = write_suite(tmp_path, tiny_digits_corpus), tmp_path / "out"
    runs = [start(suite, output), start(suite, output)]
    first, second = sorted((run.communicate(timeout=240)[0] for run in runs), key=len)[::-1]
    texts = (first, second)
    assert [run.returncode for run in runs] == [0, 0], texts
    assert sum("4 of 4 cells complete, 0 of them from earlier runs" in text for text in texts) == 1
    (later,) = (
        text for text in texts if "4 of 4 cells complete, 4 of them from earlier runs" in text
    )
    assert f"waiting: another process is running a suite in {output}" in later
    found = [record for _, record in read_records(output / "records")]
    assert sorted(record.upstream.name for record in found) == ["half", "tiny"]
    assert all(isinstance(record, ScoreRecord) for record in found)


@pytest.mark.parametrize("everything", [False, True])
def test_a_suite_ends_at_sigterm(
    everything: bool, tiny_digits_corpus: Path, tmp_path: Path
) -> None:
    long = write_suite(tmp_path, tiny_digits_corpus, total_steps=10**6, eval_step=10**5)
    output = tmp_path / "out"
    run = start(long, output)
    try:
        until = time.monotonic() + 120
        while not list(output.glob("records/.work/features/*.json")):  # the heads are next
            assert time.monotonic() < until
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.02)
        family = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(signal.SIGTERM)
        for process in family if everything else ():
            process.send_signal(signal.SIGTERM)
        printed = run.communicate(timeout=60)[0]
    finally:
        run.kill()
    assert run.returncode == 143, printed
    assert "stopped; run the same command again to resume" in printed
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not list(output.rglob(".*.????????"))
    again = start(write_suite(tmp_path, tiny_digits_corpus), output)
    printed = again.communicate(timeout=240)[0]
    assert again.returncode == 0, printed
    assert "4 of 4 cells complete, 2 of them from earlier runs" in printed
