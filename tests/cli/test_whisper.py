"""`compress` and `inspect` recognise Whisper models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from s3prl_compress.cli import main
from s3prl_compress.whisper import compress, count, load

from ..whisper.small import logits, small_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(small_folder(tmp_path_factory.mktemp("cli_whisper") / "hf"))


def test_compress_writes_a_folder_and_prints_three_sparsities(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "w10"
    arguments = ["compress", folder, "--method", "clustering", "--sparsity", "0.1"]
    assert main([*arguments, "--part", "decoder", "--output", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:8] for line in lines[1:4]] == ["all para", "linears ", "encoder "]
    everything, linears, encoder = (float(line.split()[-1].rstrip("%")) for line in lines[1:4])
    assert 9 <= everything <= 11 < linears
    assert encoder == 0
    expected = compress(load(folder), "clustering", sparsity=0.1, part="decoder")
    assert torch.equal(logits(load(output).model), logits(expected.model))
    # The result can be compressed again, but not replaced by that.
    arguments = ["compress", str(output), "--method", "layers", "--keep", "1", "--json"]
    assert main([*arguments, "--output", str(output)]) == 2
    capsys.readouterr()
    again = output.parent / "again"
    assert main([*arguments, "--output", str(again)]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["before"]["parameters"] == count(expected).total
    assert set(data["sparsity"]) == {"all_parameters", "linears", "encoder"}
    assert len(load(again).provenance.steps) == 2


def test_inspect_shows_counts_shape_and_history(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", folder, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["parameters"] == count(load(folder)).total
    assert data["family"] == "whisper"
    assert data["cross_attention_heads"] == [2, 2, 2]
    assert data["encoder_ffn_units"] == [40, 40]
    assert data["base"] == folder
    assert main(["inspect", folder]) == 0
    assert "encoder ffn units" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "prune_low_rank"], "no method 'prune_low_rank' for Whisper"),
        (["--method", "clustering", "--part", "middle"], "part: must be 'encoder'"),
        (["--method", "clustering", "--form", "share"], "only form 'fold'"),
        (["--method", "clustering", "--normalize", "yes"], "normalize: does not apply"),
    ],
)
def test_invalid_input_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    folder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compress", folder, *arguments, "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "MODEL", "--task", "ctc", "--data", "SPEECH"],
        ["export", "MODEL", "--format", "transformers"],
        ["compress", "MODEL", "--method", "ctc", "--audio", "SPEECH"],
        ["compress", "MODEL", "--recipe", "self_pinching_wav2vec2_base", "--audio", "SPEECH"],
    ],
)
def test_what_takes_other_models_refuses_whisper_in_one_line(
    arguments: list[str],
    folder: str,
    transcribed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = {"MODEL": folder, "SPEECH": str(transcribed)}
    command = [given.get(argument, argument) for argument in arguments]
    assert main([*command, "--output", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "hisper" in line
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_has_no_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compress", "hubert_demo", "--method", "clustering", "--part", "encoder"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert "part: no such setting" in capsys.readouterr().err
