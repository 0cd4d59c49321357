"""Two processes on one folder of results: the second waits, and takes the first one's record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress.common.files import locked
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.evaluation import onepass, record_path, score
from s3prl_compress.results.records import ScoreRecord, read_records
from s3prl_compress.tasks.base.engine import WORK_FOLDER

from ..support.small_corpora import write_emotions, write_speakers, write_transcripts

QUICK = Path(__file__).parent.parent / "quick.yaml"
RECOGNITION = {"project_dim": 16, "rnn_dim": 16, "rnn_layers": 1, "dropout": 0.0, "specaug": False}
_SCORE = """
import json, sys, time
from pathlib import Path
from s3prl_compress.common.errors import InputError
from s3prl_compress.evaluation import score
for cell in json.loads(sys.argv[1]):
    work, until = Path(cell["output"]) / ".work", time.monotonic() + 100
    pattern = f"tiny.{cell['task']}.{cell['engine']}.*"
    while not any(path.is_dir() for path in work.glob(pattern)) and time.monotonic() < until:
        time.sleep(0.002)  # until the other process is at work on it
    print(score(**cell, device="cpu", name="tiny").model_dump_json())
"""


@pytest.fixture
def cells(tiny_corpus: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """A cell of each task, with enough evaluations for two processes to meet in it."""
    data = {
        "ks": tiny_corpus,
        "sid": write_speakers(tmp_path / "sid", speakers=4),
        "er": write_emotions(tmp_path / "er"),
        "asr": write_transcripts(tmp_path / "asr", ["AB", "BA"], train=8),
    }
    model = save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "tiny")
    steps = {"ks": 1500, "sid": 1500, "er": 300, "asr": 150}
    for task, total in steps.items():
        values = {
            "name": "short",
            "total_steps": total,
            "eval_step": 10,
            "batch_size": 4,
            "learning_rates": [1e-2, 1e-3],
            "crops_per_file": 2,
            "recognition": RECOGNITION,
        }
        (tmp_path / f"{task}.yaml").write_text(yaml.safe_dump(values))
    return [
        {
            "source": str(model),
            "task": task,
            "data": str(folder),
            "recipe": str(tmp_path / f"{task}.yaml"),
            "output": str(tmp_path / "out" / "records"),
            "engine": "onepass",
        }
        for task, folder in data.items()
    ]


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, text=True, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def test_score_beside_run_on_all_tasks(cells: list[dict[str, Any]], tmp_path: Path) -> None:
    suite = {
        "output": str(tmp_path / "out"),
        "upstreams": [{"name": "tiny", "source": cells[0]["source"]}],
        "tasks": [{key: cell[key] for key in ("task", "data", "recipe")} for cell in cells],
        "device": "cpu",
        "threads": 1,
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite))
    run = "import sys; from s3prl_compress.cli import main; sys.exit(main(['run', sys.argv[1]]))"
    processes = [start(run, str(path)), start(_SCORE, json.dumps(cells))]
    (_, said), (printed, errors) = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said + errors
    records = [record for _, record in read_records(tmp_path / "out" / "records")]
    assert sorted(record.task for record in records if isinstance(record, ScoreRecord)) == sorted(
        cell["task"] for cell in cells
    )
    given = [ScoreRecord.model_validate_json(line) for line in printed.splitlines()]
    by_task = {record.task: record for record in records if isinstance(record, ScoreRecord)}
    assert [by_task[record.task] for record in given] == given  # one run, one record


@pytest.mark.s3prl
def test_two_processes_on_a_cell_of_s3prls_engine(
    cells: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = Path(cells[0]["recipe"])
    shorter = {"learning_rates": [1e-2], "total_steps": 20}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | shorter))
    cell = cells[0] | {"engine": "s3prl"}
    together = "import json, sys; from s3prl_compress.evaluation import score\n" + (
        "for cell in json.loads(sys.argv[1]):\n"
        "    print(score(**cell, device='cpu', name='tiny').model_dump_json())"
    )
    processes = [start(together, json.dumps([cell])), start(_SCORE, json.dumps([cell]))]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    logs = list((tmp_path / "out").rglob("child.log"))
    assert len(logs) == 1
    assert len(list(read_records(tmp_path / "out" / "records"))) == 1


def test_the_second_waits_says_so_once_and_takes_the_record(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"])
    arguments: dict[str, Any] = {
        "source": encoder, "data": tiny_corpus, "output": tmp_path, "recipe": QUICK, "device": "cpu"
    }  # fmt: skip
    first = score(**arguments)
    path = record_path(first, tmp_path)
    written = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(onepass, "run", lambda job: pytest.fail("it was run again"))
    found: list[ScoreRecord] = []
    capsys.readouterr()
    with locked(tmp_path / WORK_FOLDER / f"{path.stem}.lock", "scoring"):
        waiting = threading.Thread(target=lambda: found.append(score(**arguments)))
        waiting.start()
        said = ""
        while not said and waiting.is_alive():
            time.sleep(0.01)
            said += capsys.readouterr().err
        assert said == f"waiting: another process is scoring the same cell, {path.stem}\n"
        path.write_bytes(written)
    waiting.join()
    assert found == [first]
    assert "waiting" not in capsys.readouterr().err


def test_a_killed_processs_lock_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "cell.lock"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from s3prl_compress.common.files import locked\n"
        "with locked(Path(sys.argv[1]), 'working'):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    process = start(code, str(lock))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert lock.exists()
    with locked(lock, "working"):
        pass
