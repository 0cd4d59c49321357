"""`compress` with learned methods, and methods in a chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.cli import app as cli
from s3prl_compress.cli import compression
from s3prl_compress.cli.compression_recipes import CompressionStep
from s3prl_compress.common.errors import InputError
from s3prl_compress.distillation import stage as learned
from s3prl_compress.encoder import fingerprint, load

SMOKE = (
    *("--steps", "4", "--batch-seconds", "2", "--crop-seconds", "0.5", "--accumulation", "1"),
    *("--workers", "0", "--precision", "no", "--log-every", "1", "--checkpoint-every", "1"),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compression") / "tiny"
    assert cli.main(["random", "hubert_tiny", "--output", str(folder)]) == 0
    return folder


def run(*arguments: str | Path) -> int:
    return cli.main(["compress", *map(str, arguments)])


def figures(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert run(*arguments, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_each_of_several_processes_loads_onto_its_own_gpu(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []

    def refuse(source: Any, *, device: torch.device, normalize: bool | None) -> Any:
        asked.append(device)
        raise InputError("no GPU here")

    monkeypatch.setattr(compression, "load_unless_loaded", refuse)
    steps = [CompressionStep(method="clustering")]
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    for device in ("cuda", "cpu"):
        with pytest.raises(InputError, match="no GPU here"):
            compression.compress_to(checkpoint, tmp_path / "out", steps, {}, device)
    assert asked == [torch.device("cuda", 1), torch.device("cpu")]


def test_a_learned_method_goes_on_where_it_was_killed(
    checkpoint: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (checkpoint, "--method", "structured", "--audio", tones, "--sparsity", "0.3", *SMOKE)
    assert run(*command, "--output", tmp_path / "whole") == 0
    real = learned.AudioBatches.iterate
    decoded: list[int] = []

    def killed(self: Any, first: int, *rest: Any) -> Any:
        for number, batch in enumerate(real(self, first, *rest), start=first):
            decoded.append(number)
            if len(decoded) == 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(learned.AudioBatches, "iterate", killed)
    assert run(*command, "--output", tmp_path / "cut") == 130
    assert (tmp_path / "cut.work" / "0_structured" / "gates" / "state").is_dir()
    assert not (tmp_path / "cut").exists()
    assert run(*command, "--output", tmp_path / "cut") == 0
    assert decoded[:4] == [0, 1, 2, 2]
    assert fingerprint(load(tmp_path / "cut")) == fingerprint(load(tmp_path / "whole"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]
    history = json.loads((tmp_path / "cut" / "training.json").read_text())
    assert sorted(history) == ["0_structured/final", "0_structured/gates"]
    assert [entry["step"] for entry in history["0_structured/gates"]["training"]] == [1, 2, 3, 4]
    assert "sparsity" in history["0_structured/gates"]["training"][0]


def test_then_distill_takes_the_input_for_its_teacher(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    chain = ("--method", "clustering", "--sparsity", "0.3", "--then", "distill", "--audio", tones)
    answer = figures(capsys, checkpoint, *chain, *SMOKE, "--output", tmp_path / "out")
    teacher = load(checkpoint)
    (then,) = answer["then"]
    assert then["method"] == "distill"
    assert fingerprint(teacher) in then["settings"]["teacher"]
    assert answer["settings"]["sparsity"] == 0.3
    assert answer["parameters"] < 0.72 * answer["before"]["parameters"]
    assert [step.method for step in load(tmp_path / "out").provenance.steps] == [
        "clustering",
        "distill",
    ]
    alone = figures(
        capsys,
        checkpoint,
        "--method",
        "clustering",
        "--sparsity",
        "0.3",
        "--output",
        tmp_path / "a",
    )
    assert alone["then"] == []
    assert fingerprint(load(tmp_path / "a")) != fingerprint(load(tmp_path / "out"))
    by_hand = (tmp_path / "a", "--method", "distill", "--teacher", checkpoint, "--audio", tones)
    figures(capsys, *by_hand, *SMOKE, "--output", tmp_path / "b")
    assert fingerprint(load(tmp_path / "b")) == fingerprint(load(tmp_path / "out"))


def test_what_is_wrong_is_said_before_any_work(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    out = ("--output", tmp_path / "out")
    then = ("--method", "clustering", "--then", "distill")
    assert "audio: must be given" in complaint(capsys, checkpoint, *then, *out)
    assert "no such folder" in complaint(capsys, checkpoint, *then, "--audio", "nowhere", *out)
    assert "no method 'destill'" in complaint(
        capsys, checkpoint, "--method", "clustering", "--then", "destill", *out
    )
    assert "--teacher" in complaint(capsys, checkpoint, *then, "--teecher", "x", *out)
    assert "teacher: must be given" in complaint(
        capsys, checkpoint, "--method", "distill", "--audio", tones, *out
    )
    assert not (tmp_path / "out").exists()


def test_a_setting_of_both_goes_to_both(
    capsys: pytest.CaptureFixture[str], checkpoint: Path, tones: Path, tmp_path: Path
) -> None:
    chain = ("--method", "clustering", "--sparsity", "0.3", "--then", "distill", "--seed", "5")
    answer = figures(capsys, checkpoint, *chain, "--audio", tones, *SMOKE, "--output", tmp_path)
    assert answer["settings"]["seed"] == 5
    assert answer["then"][0]["settings"]["seed"] == 5


def test_a_model_is_not_replaced_by_its_own_compression(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(load(checkpoint))
    assert run(checkpoint, "--method", "magnitude", "--output", checkpoint) == 2
    assert "is the model itself; give another folder" in capsys.readouterr().err
    assert fingerprint(load(checkpoint)) == before


def test_a_file_that_grows_because_of_its_type_is_explained(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half, output = tmp_path / "half", tmp_path / "smaller"
    write = ["export", str(checkpoint), "--format", "checkpoint", "--dtype", "float16"]
    assert cli.main([*write, "--output", str(half)]) == 0
    made = figures(capsys, half, "--method", "magnitude", "--sparsity", "0.1", "--output", output)
    assert made["bytes"] > made["before"]["bytes"]
    (note,) = made["notes"]
    assert "in float16, the new one in float32" in note
    command = [*note.split("s3prl-compress ")[1].split()[:-1], str(tmp_path / "again")]
    assert cli.main(command) == 0
    assert load(tmp_path / "again").stored_as == "float16"
