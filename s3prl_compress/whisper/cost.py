"""Identity and cost of a Whisper model, for records."""

from __future__ import annotations

import hashlib
import json

import torch

from ..encoder import EncoderShape, macs
from ..encoder.named_shapes import whisper_shape
from ..encoder.serialization import STORED_SIZES
from ..results.records import Cost, Upstream
from .counting import count
from .model import Whisper
from .shape import WhisperShape

HOP = 160
"""Samples from one log-mel frame to the next."""
STRIDE = 2
"""Log-mel frames per frame of the encoder."""


def window_samples(shape: WhisperShape) -> int:
    """Return the samples that the encoder takes at a time: 30 s of audio for all real models."""
    return shape.audio_positions * STRIDE * HOP


def encoder_shape(shape: WhisperShape) -> EncoderShape:
    """Return the shape of the encoder as an upstream."""
    return whisper_shape(
        hidden=shape.hidden,
        heads=shape.encoder_heads,
        mel_bins=shape.mel_bins,
        positions=shape.audio_positions,
        layers=shape.encoder,
    )


def encoder_macs(shape: WhisperShape) -> int:
    """Return the multiply-adds of the encoder on one window, mel filters included.

    A window always has its full length, as shorter audio is padded.
    """
    return macs(encoder_shape(shape), [window_samples(shape)])


def cost(whisper: Whisper) -> Cost:
    """Return the counts of a model; its multiply-adds are those of the encoder alone.

    The decoder's depend on the length of the text.
    """
    total = count(whisper).total
    return Cost(
        parameters=total,
        nonzero_parameters=total,
        macs_32=macs(encoder_shape(whisper.shape)),
        # All tensors of a Whisper model are weights.
        bytes=sum(own.numel() for own in whisper.stored_state().values())
        * STORED_SIZES[whisper.stored_as],
    )


def fingerprint(whisper: Whisper) -> str:
    """Return the SHA-256 of everything that decides what a model recognises, as hexadecimal digits.

    That is its shape, settings and weights, and the kept files: the generation config, the feature
    extractor and the tokenizer. Its history is not included.
    """
    digest = hashlib.sha256(whisper.shape.model_dump_json().encode())
    digest.update(json.dumps(whisper.settings(), sort_keys=True).encode())
    for name, content in sorted(whisper.files.items()):
        digest.update(f"{name} {len(content)}".encode() + content)
    for name, tensor in sorted(whisper.stored_state().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().flatten()
        digest.update(data.view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def describe(whisper: Whisper, name: str, source: str) -> Upstream:
    """Return the entry of a model in a result record.

    Args:
        whisper: the model that was evaluated.
        name: its name in tables.
        source: where it was loaded from.
    """
    return Upstream(
        name=name,
        checkpoint_sha256=fingerprint(whisper),
        source=source,
        base=whisper.provenance.base,
        random_weights=whisper.provenance.random_weights,
        methods=whisper.provenance.chain(),
        cost=cost(whisper),
    )
