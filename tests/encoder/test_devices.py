"""Every tensor of a forward pass is on the encoder's device.

No GPU is at hand where the tests run. The meta device stands in for one: an operation of tensors on
it and on the CPU is an error, as on a GPU. Values and training steps cannot be tested so.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from s3prl_compress.encoder import NAMED_SHAPES, EncoderShape, dense_shape, random_encoder
from s3prl_compress.encoder.shape import Family
from s3prl_compress.probing.heads import ParallelHeads
from s3prl_compress.probing.pooling import pool

from .exported.models import odd_encoder


def shape(family: Family, **options: Any) -> EncoderShape:
    return dense_shape(
        family,
        hidden=16,
        layers=2,
        heads=2,
        ffn=8,
        conv_widths=(4,) * 7,
        position_kernel=4,
        position_groups=2,
        **options,
    )


@pytest.mark.parametrize(
    "own",
    [
        shape("hubert"),
        shape("hubert", large=True),
        shape("wav2vec2"),
        shape("wavlm"),
        shape("wavlm", large=True),
        NAMED_SHAPES["whisper_tiny"],
        odd_encoder().shape,
    ],
    ids=lambda own: own.family,
)
def test_states_and_means_are_on_the_encoders_device(own: EncoderShape) -> None:
    encoder = random_encoder(own).eval().to("meta")
    waveforms = [torch.zeros(samples, device="meta") for samples in (9000, 7000)]
    with torch.no_grad():
        states, frames = encoder(waveforms)
        means = pool(encoder, waveforms)
    assert {state.device.type for state in (*states, means)} == {"meta"}
    assert frames.device.type == "cpu"  # counts are known beforehand: nothing waits for a GPU
    assert [list(state.shape[:2]) for state in states] == [[2, int(frames.max())]] * own.states


def test_logits_of_heads_are_on_their_device() -> None:
    heads = ParallelHeads(3, 16, 4, [1e-1, 1e-2], device="meta")
    assert heads.logits(torch.zeros(5, 3, 16, device="meta")).device.type == "meta"
