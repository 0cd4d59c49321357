"""What fine-tuning makes of the front end's features, for encoders with and without padding."""

from __future__ import annotations

import pytest
import torch

from s3prl_compress.encoder import SpeechEncoder
from s3prl_compress.encoder.front_ends.whisper import Pad
from s3prl_compress.training.finetuning import _FrontEnd

from ..support.small import small_encoder, speech
from ..support.small_whisper import small_whisper

LENGTHS = (16_000, 24_300, 5000)
"""Samples; blocks of 50 frames, or 16,000 samples, are shorter than the longest."""


def assert_cached_equals_computed(encoder: SpeechEncoder) -> None:
    waveforms = speech(*LENGTHS)
    with torch.no_grad():
        wanted, counts = encoder(waveforms)
        cached, own_counts = encoder(_FrontEnd(encoder, "no")([0, 1, 2], waveforms))
    assert own_counts.tolist() == counts.tolist()
    for one, other in zip(cached, wanted, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        for row, count in enumerate(counts.tolist()):
            torch.testing.assert_close(one[row, :count], other[row, :count], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("positions", [50, 100])
@pytest.mark.parametrize("pad", ["full", "none"])
def test_cached_features_of_whisper_have_no_padding_as_speech(pad: Pad, positions: int) -> None:
    assert_cached_equals_computed(small_whisper(pad, positions))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_cached_features_equal_computed_ones(layer_norm: bool) -> None:
    assert_cached_equals_computed(small_encoder(layer_norm=layer_norm).eval())
