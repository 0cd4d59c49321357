from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s3prl_compress.encoder import (
    LEADERBOARD_COUNTS,
    LEADERBOARD_SAMPLES,
    NAMED_SHAPES,
    SpeechEncoder,
    cost,
    describe,
    load,
    macs,
    random_encoder,
    save,
)
from s3prl_compress.encoder.cost import _macs, count_macs, parameters
from s3prl_compress.encoder.linear import SparseLinear
from s3prl_compress.encoder.model import TransformerStack
from s3prl_compress.encoder.shape import EncoderShape
from s3prl_compress.methods import compress

from .test_checkpoint import mixed


def test_hubert_base_costs_what_the_leaderboard_says() -> None:
    counted = cost(NAMED_SHAPES["hubert_base"])
    assert counted.parameters == counted.nonzero_parameters == 94_371_712
    assert counted.macs_32 == pytest.approx(LEADERBOARD_COUNTS["hubert_base"]["macs_32"], rel=3e-3)
    assert counted.bytes == 4 * 94_371_712


def test_large_models_have_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        assert parameters(SpeechEncoder(NAMED_SHAPES["hubert_large"])) == 315_438_720


def test_the_lengths_are_the_leaderboards() -> None:
    assert len(LEADERBOARD_SAMPLES) == 32
    assert list(LEADERBOARD_SAMPLES) == sorted(LEADERBOARD_SAMPLES)


def by_hand(shape: EncoderShape, samples: int) -> int:
    """Multiply-adds of a dense shape, from the textbook formulas."""
    total, inputs, frames = 0, 1, samples
    for conv in shape.convs:
        frames = (frames - conv.kernel) // conv.stride + 1
        total += frames * conv.width * inputs * conv.kernel
        inputs = conv.width
    total += frames * inputs * shape.hidden
    assert shape.position_conv is not None
    surplus = 1 - shape.position_conv.kernel % 2
    total += (
        (frames + surplus) * shape.hidden**2 // shape.position_conv.groups
    ) * shape.position_conv.kernel
    for layer in shape.layers:
        total += frames * shape.hidden * (2 * layer.qk_size + 2 * layer.vo_size + 2 * layer.ffn)
        total += frames**2 * (layer.qk_size + layer.vo_size)
    return total


@pytest.mark.parametrize("name", ["hubert_base", "hubert_base_pruned", "wav2vec2_large"])
def test_attention_and_position_convolution_are_counted(name: str) -> None:
    shape = NAMED_SHAPES[name]
    # The counter also sees the first convolution's window statistics, which no paper counts.
    assert macs(shape, [160_000]) == pytest.approx(by_hand(shape, 160_000), rel=1e-3)


def test_hubert_base_at_ten_seconds() -> None:
    assert macs(NAMED_SHAPES["hubert_base"], [160_000]) == pytest.approx(74.067e9, rel=1e-4)


def test_equal_lengths_are_counted_once_each() -> None:
    shape = NAMED_SHAPES["hubert_tiny"]
    assert macs(shape, [4000, 4000, 6000]) == 2 * macs(shape, [4000]) + macs(shape, [6000])


LENGTHS = (4000, 4321, 4321, 9000, 16_000, 24_000, 24_080, 40_000)


WAVLM = {"family": "wavlm", "relative_position": {"buckets": 320, "max_distance": 800}}


@pytest.mark.parametrize("changes", [{}, WAVLM], ids=["hubert", "wavlm"])
def test_lengths_that_are_not_counted_one_by_one_cost_the_same(changes: dict[str, Any]) -> None:
    tiny = NAMED_SHAPES["hubert_tiny"].model_dump()
    shape = EncoderShape.model_validate(tiny | changes)
    assert macs(shape, LENGTHS) == one_by_one(shape)


def test_a_cost_that_is_not_quadratic_is_counted_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = TransformerStack.forward

    def cubic(self: TransformerStack, x: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        square = x.new_zeros(x.shape[1], x.shape[1])
        square @ square
        return plain(self, x, mask)

    shape = NAMED_SHAPES["hubert_tiny"]
    before = one_by_one(shape)
    monkeypatch.setattr(TransformerStack, "forward", cubic)
    _macs.cache_clear()
    assert macs(shape, LENGTHS) == one_by_one(shape) > before
    _macs.cache_clear()


def one_by_one(shape: EncoderShape) -> int:
    with torch.device("meta"):
        encoder = SpeechEncoder(shape)
    return count_macs(lambda waveform: encoder([waveform]), LENGTHS, device="meta")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_kind_of_linear_counts_as_it_is_stored(tmp_path: Path, dtype: torch.dtype) -> None:
    encoder = load(save(mixed(), tmp_path / "model", dtype=dtype))
    counted = cost(encoder)
    sparse = encoder.encoder.layers[0].feed_forward.intermediate_dense
    assert isinstance(sparse, SparseLinear)
    assert counted.parameters - counted.nonzero_parameters == 20 * 32 - len(sparse.values)
    stored = tmp_path / "model" / "model.safetensors"
    head = sum(tensor.numel() * dtype.itemsize for tensor in encoder.head.parameters())  # type: ignore[union-attr]
    overhead = 8 + int.from_bytes(stored.read_bytes()[:8], "little")
    assert counted.bytes == stored.stat().st_size - overhead - head


def test_what_is_compressed_counts_as_float32_until_it_is_saved(tmp_path: Path) -> None:
    dense = load(save(random_encoder(NAMED_SHAPES["hubert_tiny"]), tmp_path, dtype=torch.float16))
    assert cost(dense).bytes == 2 * cost(dense).parameters
    smaller = compress(dense, "magnitude", sparsity=0.2)
    assert cost(smaller).bytes == 4 * cost(smaller).parameters


def test_a_description_says_what_was_measured() -> None:
    encoder = random_encoder(NAMED_SHAPES["hubert_tiny"], seed=3)
    upstream = describe(encoder, "tiny", "in memory")
    assert upstream.random_weights
    assert upstream.base == "random weights (seed 3; hubert, 2 x 32)"
    assert upstream.cost is not None
    assert upstream.cost.parameters == sum(p.numel() for p in encoder.parameters())
    assert torch.is_grad_enabled()
