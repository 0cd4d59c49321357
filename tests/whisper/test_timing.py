"""Timing of Whisper models: what runs in a pass, the record, and the encoder's multiply-adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from s3prl_compress.cli import main
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import NAMED_SHAPES, random_encoder, save
from s3prl_compress.latency import time_table
from s3prl_compress.latency.assemble import make_record
from s3prl_compress.latency.plan import Bucket
from s3prl_compress.report import report
from s3prl_compress.results.environment import environment
from s3prl_compress.results.records import TimeRecord
from s3prl_compress.whisper import Whisper, compress, load, time_whisper
from s3prl_compress.whisper.cost import describe, encoder_macs

from .talking import talking_folder

QUICK: dict[str, Any] = {
    "repeats": 3,
    "warmup": 0,
    "threads": 1,
    "device": "cpu",
    "batch_size": 2,
    "new_tokens": 5,
}


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_folder(tmp_path_factory.mktemp("talking") / "tiny", 4)


@pytest.fixture(scope="module")
def whisper(talking: Path) -> Whisper:
    return load(talking)


@pytest.fixture(scope="module")
def record(whisper: Whisper) -> TimeRecord:
    smaller = compress(whisper, "magnitude", sparsity=0.2)
    return time_whisper(smaller, whisper, name="small", against_name="dense", **QUICK)


def test_the_record_has_encoder_and_generate_alone_and_in_batches(record: TimeRecord) -> None:
    buckets = {bucket.name: bucket for bucket in record.buckets}
    assert list(buckets) == ["encoder", "encoder, batched", "all", "batched"]
    assert [bucket.batch_size for bucket in record.buckets] == [1, 2, 1, 2]
    assert [bucket.audio_seconds for bucket in record.buckets] == [2.0, 4.0, 2.0, 4.0]
    assert set(record.raw_seconds) == {f"{n}/{s}" for n in buckets for s in ("this", "against")}
    assert all(len(times) == 3 for times in record.raw_seconds.values())
    assert all(bucket.speedup is not None for bucket in record.buckets)
    assert record.settings["new_tokens"] == 5
    assert (record.upstream.name, record.upstream.methods[0][:9]) == ("small", "magnitude")
    assert record.against is not None
    assert record.against.name == "dense"


@pytest.mark.parametrize("seed", [4, 5])
def test_every_window_writes_the_same_number_of_tokens(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the two models, one stops early, and one writes time stamps unless it is hindered."""
    whisper = load(talking_folder(tmp_path / "hf", seed, seconds=2.0))
    steps: list[int] = []
    kind = type(whisper.model)
    real = kind.forward

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        result = real(self, *args, **named)
        steps.append(result.logits.shape[0])
        return result

    monkeypatch.setattr(kind, "forward", counted)
    time_whisper(whisper, **QUICK | {"batch_size": 3})
    # Two passes for the peak of memory, one of them at batch 1, and three rounds.
    assert steps.count(1) == 5 * (1 + 3)
    assert steps.count(3) == 5 * (1 + 3)
    assert len(steps) == steps.count(1) + steps.count(3)


def test_a_row_that_is_slower_says_so(whisper: Whisper, tmp_path: Path) -> None:
    own = describe(whisper, "w", "in memory")
    times = {"all/this": [2.0] * 5, "all/against": [1.0, 1.01, 0.99, 1.0, 1.0]}
    made = make_record(
        own,
        own.model_copy(update={"name": "dense"}),
        [Bucket("all", ((torch.zeros(32_000),),))],
        times,
        dtype="float32",
        memory={"this": 0, "against": 0},
        settings={},
        environment=environment("cpu"),
    )
    assert "0.5 x" in time_table(made)
    assert time_table(made).count("slower") == 1
    (tmp_path / "time.json").write_text(made.model_dump_json())
    paths = report(tmp_path)
    assert "0.50\N{MULTIPLICATION SIGN} slower" in paths[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (None, {}),
        ("clustering", {"sparsity": 0.2, "part": "encoder"}),
        ("low_rank", {"sparsity": 0.1}),
        ("magnitude", {"units": ["head"], "sparsity": 0.05}),
    ],
)
def test_multiply_adds_are_those_that_torch_counts(
    whisper: Whisper, method: str | None, settings: dict[str, Any]
) -> None:
    model = whisper if method is None else compress(whisper, method, **settings)
    encoder = model.model.model.encoder
    frames = 2 * model.shape.audio_positions
    features = torch.zeros(1, model.shape.mel_bins, frames)
    before = encoder.config._attn_implementation
    encoder.config._attn_implementation = "eager"
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            encoder(features)
    finally:
        encoder.config._attn_implementation = before
    filters = 201 * model.shape.mel_bins * frames  # of the feature extractor
    assert encoder_macs(model.shape) == counter.get_total_flops() // 2 + filters


def test_the_command_line(
    talking: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["time", str(talking), "--repeats", "3", "--warmup", "0", "--device", "cpu"]
    command += ["--batch-size", "2", "--new-tokens", "3", "--threads", "1"]
    assert main([*command, "--against", str(talking), "--output", str(tmp_path / "out")]) == 0
    assert "encoder, batched" in capsys.readouterr().out
    assert main([*command, "--batch-size", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [bucket["name"] for bucket in printed["buckets"]] == ["encoder", "all"]
    text = report(tmp_path / "out")[0].read_text(encoding="utf-8")
    assert "RTFx encoder" in text
    hubert = str(save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path / "hubert"))

    def refused(message: str, *arguments: str) -> None:
        assert main(["time", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line

    refused("is a Whisper model and", str(talking), "--against", hubert)
    refused("no Whisper model, to which new-tokens does not apply", hubert, "--new-tokens", "9")
    refused("to which normalize does not apply", str(talking), "--normalize", "yes")
    refused("new tokens 29: must be 1 to 28", str(talking), "--new-tokens", "29")


def test_models_of_other_windows_cannot_be_compared(whisper: Whisper, tmp_path: Path) -> None:
    other = load(talking_folder(tmp_path / "hf", 4, seconds=1.0))
    with pytest.raises(InputError, match="windows of different lengths"):
        time_whisper(other, whisper, **QUICK)
