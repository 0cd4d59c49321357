"""The errors of hidden states, with and without a linear map."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ..methods.small import small_encoder, speech

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("state_error")


def turned(waveforms: list[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the states of the small encoder, turned, scaled and shifted."""
    states, counts = small_encoder()(waveforms)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(2)))[0]
    return tuple(3 * state @ rotation + 1 for state in states), counts


def test_a_constant_does_not_count_and_a_factor_does(measure: Any) -> None:
    def shifted(waveforms: list[Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
        states, counts = small_encoder()(waveforms)
        return tuple(1.25 * state + 7 for state in states), counts

    errors = measure.relative_errors(small_encoder(), shifted, speech(9000, 7000))
    np.testing.assert_allclose(errors, np.full((2, 3), 0.25), rtol=1e-4)


def test_a_linear_map_brings_back_what_was_only_turned(measure: Any) -> None:
    encoder, tested = small_encoder(), speech(9000, 7000)
    fitted = [torch.randn(16_000, generator=torch.Generator().manual_seed(n)) for n in range(8)]
    assert measure.relative_errors(encoder, turned, tested).min() > 1
    maps = measure.linear_maps(encoder, turned, fitted)
    assert measure.relative_errors(encoder, turned, tested, maps).max() < 0.05
    other = small_encoder(seed=4)
    maps = measure.linear_maps(encoder, other, fitted)
    after = measure.relative_errors(encoder, other, tested, maps)
    assert after.min() > 0.2  # what another encoder does not know stays lost
    assert after.mean() < measure.relative_errors(encoder, other, tested).mean()
