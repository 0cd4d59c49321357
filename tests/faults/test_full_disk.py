"""A full disk: one line that names the place, nothing half-written, and then it can be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from s3prl_compress.cli import app as cli
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save

from .conftest import Disk

QUICK = Path(__file__).parent.parent / "quick.yaml"
FULL = "(No space left on device); make room there and run the same command again"

COMMANDS = {
    "compress": "compress {model} --method magnitude --sparsity 0.1 --output {disk}/small",
    "compress, learned": "compress {model} --method structured --sparsity 0.1 --audio {tones} "
    "--steps 2 --final-steps 2 --batch-seconds 1 --accumulation 1 --workers 0 --threads 1 "
    "--output {disk}/small",
    "export": "export {model} --format transformers --output {disk}/small",
    "prepare": "prepare ks {table} --output {disk}/corpus",
    "score": "score {model} --task ks --data {corpus} --recipe {quick} --device cpu --threads 1 "
    "--output {disk}/results",
    "score, frames": "score {model} --task asr --data {transcribed} --recipe {recognition} "
    "--device cpu --threads 1 --output {disk}/results",
}

NO_ROOM = {"score, frames": "or set frames: streamed in the recipe, which stores nothing"}
"""Where the space is checked before anything is computed."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path_factory.mktemp("m") / "tiny")


@pytest.mark.parametrize("left", [0, 40_000])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_on_a_full_disk(
    name: str,
    left: int,
    disk: Disk,
    model: Path,
    tones: Path,
    transcribed: Path,
    tiny_digits_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = (
        COMMANDS[name]
        .format(
            model=model,
            disk=disk.path,
            tones=tones,
            corpus=tiny_digits_corpus,
            quick=QUICK,
            table=_table(tmp_path, tiny_digits_corpus),
            transcribed=transcribed,
            recognition=_recognition(tmp_path),
        )
        .split()
    )
    disk.fill(left)
    assert cli.main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {disk.path}"), error
    assert error.endswith(NO_ROOM.get(name, FULL)), error
    assert disk.half_written() == set()
    disk.make_room()
    assert cli.main(command) == 0


def test_a_suite_on_a_full_disk(
    disk: Disk, tiny_digits_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = {
        "output": str(disk.path / "out"),
        "upstreams": [{"name": "tiny", "random": {"shape": "hubert_tiny"}}],
        "tasks": [{"task": "ks", "data": str(tiny_digits_corpus), "recipe": str(QUICK)}],
        "device": "cpu",
        "threads": 1,
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    command = ["run", str(tmp_path / "suite.yaml")]
    disk.fill(140_000)  # room for the encoder, but not for its features
    assert cli.main(command) == 1
    printed = capsys.readouterr().out.splitlines()
    (failed,) = (line for line in printed if line.startswith("failed: ks tiny"))
    assert f"{disk.path}/out/records/.work/" in failed
    assert failed.endswith(FULL)
    assert disk.half_written() == set()
    disk.make_room()
    assert cli.main(command) == 0
    assert "2 of 2 cells complete, 1 of them from earlier runs" in capsys.readouterr().out


def _table(folder: Path, corpus: Path) -> Path:
    rows = ["file,label,speaker,split"]
    for number, path in enumerate(sorted((corpus / "speech_commands").rglob("*.wav"))):
        split = ("train", "valid", "test")[number % 3]
        rows.append(f"{path},{path.parent.name},{split}{path.stem[:8]},{split}")
    table = folder / "metadata.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def _recognition(folder: Path) -> Path:
    head = {"project_dim": 8, "rnn_dim": 8, "rnn_layers": 1, "dropout": 0.0, "specaug": False}
    recipe = yaml.safe_load(QUICK.read_text()) | {"recognition": head, "frames": "stored"}
    path = folder / "asr.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path
