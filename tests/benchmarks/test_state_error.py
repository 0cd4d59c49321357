"""The errors of hidden states, with and without a linear map."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from s3prl_compress.encoder import save
from s3prl_compress.methods import compress

from ..support.small import small_encoder, speech

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("state_error")


class Changed:
    """The small encoder with its states turned, scaled and shifted."""

    def __init__(self, factor: float, turn: bool) -> None:
        self.factor = factor
        generator = torch.Generator().manual_seed(2)
        drawn = torch.linalg.qr(torch.randn(24, 24, generator=generator))[0]
        self.rotation = drawn if turn else torch.eye(24)

    def __call__(self, waveforms: list[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        states, counts = small_encoder()(waveforms)
        return tuple(self.factor * state @ self.rotation + 7 for state in states), counts


def test_a_constant_does_not_count_and_a_factor_does(measure: Any) -> None:
    tested = speech(9000, 7000)
    wanted = measure.states_of(small_encoder(), tested)
    found = measure.states_of(Changed(1.25, turn=False), tested)
    np.testing.assert_allclose(
        measure.relative_errors(wanted, found), np.full((2, 3), 0.25), rtol=1e-4
    )


def test_a_linear_map_brings_back_what_was_only_turned(measure: Any) -> None:
    tested = speech(9000, 7000)
    fitting = [torch.randn(16_000, generator=torch.Generator().manual_seed(n)) for n in range(8)]
    wanted, there = (measure.states_of(small_encoder(), own) for own in (tested, fitting))

    def errors(encoder: Any) -> tuple[Any, Any]:
        found = measure.states_of(encoder, tested)
        after = measure.mapped(found, measure.states_of(encoder, fitting), there)
        return measure.relative_errors(wanted, found), measure.relative_errors(wanted, after)

    before, after = errors(Changed(3.0, turn=True))
    assert before.min() > 1
    assert after.max() < 0.05
    before, after = errors(small_encoder(seed=4))
    assert after.min() > 0.2  # what another encoder does not know stays lost
    assert after.mean() < before.mean()


def test_another_number_of_layers_is_passed_over(
    measure: Any,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder = small_encoder()
    made = {"dense": encoder, "bare": compress(encoder, "layers", keep=0), "same": encoder}
    folders = [str(save(one, tmp_path / name)) for name, one in made.items()]
    arguments = ["state_error", *folders, "--audio", str(tones), "--seconds", "2", "--less", "bare"]
    monkeypatch.setattr("sys.argv", arguments)
    measure.main()
    captured = capsys.readouterr()
    assert "bare: passed over, since it has another number of layers" in captured.err
    rows = [line for line in captured.out.splitlines() if line.startswith("| same")]
    assert [row.count("0.000") for row in rows] == [4]
