"""A small Whisper encoder for the tests of training."""

from __future__ import annotations

from s3prl_compress.encoder import SpeechEncoder, random_encoder
from s3prl_compress.encoder.front_ends.whisper import Pad
from s3prl_compress.encoder.loading import with_pad
from s3prl_compress.encoder.named_shapes import whisper_shape
from s3prl_compress.encoder.shape import dense_layer


def small_whisper(pad: Pad, positions: int = 100) -> SpeechEncoder:
    """Return a random encoder whose blocks last `positions` frames of 20 ms."""
    shape = whisper_shape(
        hidden=24, heads=3, layers=[dense_layer(3, 8, 40)] * 2, mel_bins=16, positions=positions
    )
    return with_pad(random_encoder(shape), pad).eval()
