from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from s3prl_compress.common.errors import InputError
from s3prl_compress.common.linear_kernels import linear_kernels
from s3prl_compress.encoder import fingerprint, inference_copy, random_encoder
from s3prl_compress.encoder.linear import LowRankLinear, SharedLinear, SparseLinear
from s3prl_compress.encoder.packed import PackedLinear, pack, packing_pays

from ..support.baselines import noise, small_shape, states_of
from .mixed import mixed_encoder


@pytest.fixture
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("S3PRL_COMPRESS_LINEARS", request.param)
    packing_pays.cache_clear()
    yield request.param
    packing_pays.cache_clear()


@pytest.fixture(autouse=True)
def _pack_small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3prl_compress.encoder.packed.LEAST", 1)


@pytest.mark.parametrize("kernels", ["torch", "onednn"], indirect=True)
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_the_copy_computes_the_same_without_sparse_linears(family: str, kernels: str) -> None:
    encoder = mixed_encoder(family)
    identity = fingerprint(encoder)
    waveforms = noise(6_000, 3_000)
    expected = states_of(encoder, waveforms)
    result = inference_copy(encoder)
    kinds = {type(module) for module in result.encoder.modules()}
    assert SparseLinear not in kinds
    assert (PackedLinear in kinds) == (kernels == "onednn")
    assert result.training == encoder.training
    with torch.no_grad():
        found = states_of(result, waveforms)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert kernels == "onednn" or torch.equal(one, other)
    assert fingerprint(encoder) == identity
    assert linear_kernels() == kernels


@pytest.mark.parametrize("kernels", ["torch", "onednn"], indirect=True)
def test_only_what_needs_it_is_copied(kernels: str) -> None:
    encoder = random_encoder(small_shape("hubert", False))
    assert (inference_copy(encoder) is encoder) == (kernels == "torch")
    other = torch.nn.Linear(2, 2)
    assert inference_copy(other) is other
    assert inference_copy(encoder, "cuda") is encoder
    half = random_encoder(small_shape("hubert", False)).to(torch.bfloat16)
    assert inference_copy(half) is half


@pytest.mark.parametrize("bias", [True, False])
def test_packed_linears_are_torchs(bias: bool) -> None:
    dense, low_rank, shared = nn.Linear(24, 40, bias), LowRankLinear(24, 40, 5, bias), None
    linears: list[nn.Module] = [dense, low_rank]
    if bias:
        shared = SharedLinear(24, 40, 7)
        shared.assignment = torch.randint(0, 7, (40,))
        linears.append(shared)
    for linear in linears:
        for parameter in linear.parameters():
            nn.init.normal_(parameter)
        packed = pack(linear)
        assert packed is not None
        x = torch.randn(3, 40, 11, 24).transpose(1, 2)
        with torch.inference_mode():
            torch.testing.assert_close(packed(x), linear(x), atol=1e-4, rtol=1e-4)


def test_small_matrices_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3prl_compress.encoder.packed.LEAST", 24 * 5)
    assert pack(nn.Linear(24, 4)) is None
    assert pack(nn.Linear(24, 5)) is not None
    assert pack(LowRankLinear(24, 4, 5)) is None  # its second factor is 4 x 5
    assert pack(LowRankLinear(24, 24, 5)) is not None


def test_empty_linears_are_not_packed() -> None:
    assert pack(LowRankLinear(8, 4, 0)) is None
    assert pack(nn.GELU()) is None


def test_the_measurement_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("S3PRL_COMPRESS_LINEARS", raising=False)
    packing_pays.cache_clear()
    first = packing_pays()
    monkeypatch.setattr("s3prl_compress.encoder.packed._measured", lambda: not first)
    assert packing_pays() == first
    packing_pays.cache_clear()


@pytest.mark.parametrize("kernels", ["mkl"], indirect=True)
def test_unknown_kernels(kernels: str) -> None:
    with pytest.raises(InputError, match="S3PRL_COMPRESS_LINEARS=mkl: must be torch or onednn"):
        packing_pays()
