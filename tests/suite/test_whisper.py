"""Whisper models in suites: as a whole, and as encoders beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3prl_compress import whisper
from s3prl_compress.cli import main
from s3prl_compress.encoder import fingerprint, load
from s3prl_compress.results.records import ScoreRecord, TimeRecord, read_records

from ..support.letters import write_letters
from ..whisper.talking import talking_folder

QUICK = Path(__file__).parent.parent / "quick.yaml"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_folder(tmp_path_factory.mktemp("talking") / "tiny", 4)


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("letters")
    write_letters(root)
    return root / "test-clean"


def write(folder: Path, model: Path, **more: Any) -> str:
    pruned = {"from": "tiny", "method": "clustering", "settings": {"sparsity": 0.3}}
    content = {
        "output": str(folder / "out"),
        "upstreams": [{"name": "tiny", "source": str(model)}, {"name": "w30", **pruned}],
        "device": "cpu",
        "threads": 1,
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content | more, sort_keys=False))
    return str(path)


def test_superbs_tasks_and_timing_take_the_encoder_of_the_model(
    model: Path,
    letters: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    in_process: None,
) -> None:
    path = write(
        tmp_path,
        model,
        tasks=[
            {"task": "whisper", "data": str(letters), "options": {"max_new_tokens": 4}},
            {"task": "ks", "data": str(tiny_corpus), "recipe": str(QUICK)},
        ],
        time={"against": "tiny", "repeats": 3, "warmup": 0, "utterances_per_bucket": 1},
    )
    assert main(["run", path]) == 0
    assert "7 of 7 cells complete, 0 of them from earlier runs" in capsys.readouterr().out
    folders = {"tiny": model, "w30": tmp_path / "out/upstreams/w30"}
    whole = {name: whisper.fingerprint(whisper.load(place)) for name, place in folders.items()}
    encoders = {name: fingerprint(load(place)) for name, place in folders.items()}
    assert len({*whole.values(), *encoders.values()}) == 4
    found = [record for _, record in read_records(tmp_path / "out/records")]
    scores = {
        (one.task, one.upstream.name): one.upstream.checkpoint_sha256
        for one in found
        if isinstance(one, ScoreRecord)
    }
    assert scores == {("whisper", name): sha for name, sha in whole.items()} | {
        ("ks", name): sha for name, sha in encoders.items()
    }
    (timed,) = (one for one in found if isinstance(one, TimeRecord))
    assert timed.against is not None
    assert timed.upstream.checkpoint_sha256 == encoders["w30"]
    assert timed.against.checkpoint_sha256 == encoders["tiny"]
    # A source is read again in every run; a dry run counts it as complete.
    assert main(["run", path]) == 0
    assert "7 of 7 cells complete, 6 of them from earlier runs" in capsys.readouterr().out
    assert main(["run", path, "--dry-run", "--json"]) == 0
    assert all(cell["done"] for cell in json.loads(capsys.readouterr().out)["cells"])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"task": "whisper", "lm": {"file": "lm.arpa"}},
            "tasks: whisper: lm: this task takes no language model; leave it out",
        ),
        (
            {"task": "ctc"},
            "tasks: ctc: no CTC head in tiny, w30: fine-tune a model first (method: ctc)",
        ),
        (
            {"task": "ks", "options": {"language": "de"}},
            "tasks: ks: options: its settings are those of a recipe; leave that out",
        ),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_runs(
    model: Path,
    letters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: dict[str, Any],
    message: str,
) -> None:
    path = write(tmp_path, model, tasks=[{"data": str(letters), **task}])
    assert main(["run", path]) == 2
    line = capsys.readouterr().err.splitlines()[-1]  # after progress bars
    assert line == f"error: {message}"
    assert not (tmp_path / "out").exists()
