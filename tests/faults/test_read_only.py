"""Output that cannot be written: one line, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from s3prl_compress.cli import app as cli

from .conftest import Disk

COMMANDS = {
    "compress": "compress {model} --method magnitude --sparsity 0.1 --output {disk}/small",
    "export": "export {model} --format onnx --output {disk}/small.onnx",
    "prepare": "prepare ks {model}/table.csv --output {disk}/corpus",
    "score": "score {model} --task ks --data demo --output {disk}/results",
    "time": "time {model} --output {disk}/results",
    "report": "report {model} --output {disk}/site",
    "run": "run {suite} --output {disk}/out",
    "pretrain": "pretrain hubert_demo --data {model} --output {disk}/model",
    "random": "random hubert_tiny --output {disk}/model",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_output(
    name: str, disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        yaml.safe_dump(
            {"output": "unused", "upstreams": [{"name": "a", "random": {"shape": "hubert_tiny"}}]}
        )
    )
    # No such model: what is wrong with the output is said before the model is looked at.
    nowhere = tmp_path / "nowhere"
    disk.read_only()
    command = COMMANDS[name].format(model=nowhere, suite=suite, disk=disk.path)
    assert cli.main(command.split()) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {disk.path}"), error
    assert "cannot be written" in error
    assert list(disk.path.iterdir()) == []
