"""The benchmark of a training step: both sides take the same step, and the figures are kept."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from s3prl_compress.encoder import NAMED_SHAPES, random_encoder

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def train_step(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("train_step")


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_it_runs_and_keeps_its_figures(
    train_step: Any, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--shape", "hubert_tiny", "--batch-seconds", "2", "--crop-seconds", "1"]
    arguments += ["--repeats", "3", "--warmup", "1", "--dtype", dtype, "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["train_step.py", *arguments, "--threads", "1"])
    train_step.main()
    figures = json.loads(output.read_text())["figures"]
    others = {"transformers"} | ({"transformers, float32"} if dtype == "bf16" else set())
    assert set(figures["speedup"]) == others
    for speedup, low, high in figures["speedup"].values():
        assert 0 < low <= speedup <= high
    assert {len(values) for values in figures["seconds"].values()} == {3}
    assert figures["crops"] == 2


def test_three_steps_in_a_row_are_the_same(train_step: Any) -> None:
    shape = NAMED_SHAPES["hubert_tiny"]
    waveforms = 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    losses = []
    for make in (train_step.our_step, train_step.plain_step):
        teacher, student = random_encoder(shape, 0).eval(), random_encoder(shape, 1)
        step = make(teacher, student, "float32", "cpu")
        losses.append([float(step(tuple(waveforms))[0]) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][2] < losses[0][0]


def test_another_step_is_refused(train_step: Any) -> None:
    steps = {
        name: (lambda waveforms, value=value: (torch.tensor(value), torch.tensor(1.0)))
        for name, value in (("ours", 1.0), ("transformers", 1.1))
    }
    with pytest.raises(SystemExit, match="loss differs"):
        train_step.same_step(steps, (), "float32")
