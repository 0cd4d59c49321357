from __future__ import annotations

from pathlib import Path

import pytest
import torch

from s3prl_compress.encoder import fingerprint, inference_copy, load, random_encoder, save
from s3prl_compress.encoder.linear import SparseLinear

from ..support.baselines import noise, small_shape, states_of
from .mixed import mixed_encoder


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_the_copy_computes_the_same_without_sparse_linears(family: str, tmp_path: Path) -> None:
    encoder = mixed_encoder(family)
    identity = fingerprint(encoder)
    waveforms = noise(6_000, 3_000)
    expected = states_of(encoder, waveforms)
    result = inference_copy(encoder)
    assert not any(isinstance(module, SparseLinear) for module in result.modules())
    assert result.training == encoder.training
    for one, other in zip(states_of(result, waveforms), expected, strict=True):
        assert torch.equal(one, other)
    # Its shape describes it, so that it can be saved; nothing of the original is shared.
    again = load(save(result, tmp_path / "model"))
    assert torch.equal(states_of(again, waveforms)[-1], expected[-1])
    for parameter in result.parameters():
        parameter.data.zero_()
    assert fingerprint(encoder) == identity


def test_an_encoder_without_sparse_linears_is_not_copied() -> None:
    encoder = random_encoder(small_shape("hubert", False))
    assert inference_copy(encoder) is encoder
    other = torch.nn.Linear(2, 2)
    assert inference_copy(other) is other
